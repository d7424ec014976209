#!/usr/bin/env bash
# Deploy to AWS, or to LocalStack: bucket, table, function, API. Run it again to update, or to mend what broke off.
# README.md says what it takes from the environment; arguments are further parameters of infra/template.yaml, such as
# MemorySize=3008.
set -euo pipefail
. "$(dirname "$0")/venv.sh"

: "${BUCKET_NAME:=image-service-bucket}" "${TABLE_NAME:=image-metadata}"
: "${FUNCTION_NAME:=imageService}" "${API_NAME:=image-api}" "${STAGE_NAME:=dev}"
: "${HANDLER_NAME:=src.handlers.image_handler.lambda_handler}" "${LAMBDA_RUNTIME:=python3.12}"
: "${STACK_NAME:=${FUNCTION_NAME//_/-}}"
case "$(uname -m)" in aarch64 | arm64) : "${ARCHITECTURE:=arm64}" ;; *) : "${ARCHITECTURE:=x86_64}" ;; esac
case $ARCHITECTURE in arm64 | x86_64) ;; *) fail "ARCHITECTURE: got $ARCHITECTURE, wants arm64 or x86_64" ;; esac
case $LAMBDA_RUNTIME in
    python3.12 | python3.13 | python3.14) ;;
    *) fail "LAMBDA_RUNTIME: got $LAMBDA_RUNTIME, wants python3.12, python3.13 or python3.14" ;;
esac
export AWS_PAGER="" AWS_CLI_AUTO_PROMPT=off

say() { printf '%s\n' "$*" >&2; }

choose_home() {
    if [ "${USE_LOCALSTACK:-}" = 1 ]; then
        export AWS_ENDPOINT_URL="${AWS_ENDPOINT_URL:-http://localhost:4566}"
    fi
    if [ -n "${AWS_ENDPOINT_URL:-}" ]; then
        if command -v awslocal >/dev/null; then
            aws=(awslocal)
        elif command -v aws >/dev/null; then
            aws=(aws --endpoint-url "$AWS_ENDPOINT_URL") # versions of before 2023 would not look at the variable
        else
            fail "Neither awslocal nor aws is installed: pip install awscli awscli-local"
        fi
        if [ -z "${AWS_PROFILE:-}" ]; then
            export AWS_ACCESS_KEY_ID="${AWS_ACCESS_KEY_ID:-test}" AWS_SECRET_ACCESS_KEY="${AWS_SECRET_ACCESS_KEY:-test}"
        fi
        # The function may reach the emulator under another name than clients do.
        : "${S3_PUBLIC_ENDPOINT:=$AWS_ENDPOINT_URL}"
    else
        command -v aws >/dev/null || fail "aws, the AWS command line interface, is not installed: pip install awscli"
        aws=(aws)
        [ "${ALLOW_ANONYMOUS:-}" = 1 ] || fail "ALLOW_ANONYMOUS: got nothing, wants 1: nobody is asked who they are," \
            "so whoever reaches the API may do everything."
    fi
    export AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-${AWS_REGION:-$("${aws[@]}" configure get region 2>/dev/null || echo us-east-1)}}"
    export AWS_REGION=$AWS_DEFAULT_REGION
}

# Run the AWS command line. Its output is in $answer then, and if it fails, its last line in $problem.
call() {
    local errors status=0
    errors=$(mktemp)
    answer=$("${aws[@]}" "$@" 2>"$errors") || status=$?
    problem=$({ grep -v '^[[:space:]]*$' "$errors" || echo "${aws[0]} $1 $2 failed"; } | tail -n 1)
    rm -f "$errors"
    return "$status"
}

# must "do this" ARGUMENTS: as call, and the end if that fails.
must() {
    local what=$1
    shift
    call "$@" || fail "Could not $what: $problem"
}

# Put the name that the stack's resource $1 has into $answer; nothing if there is no such resource.
find_in_stack() {
    if call cloudformation describe-stack-resource --stack-name "$STACK_NAME" --logical-resource-id "$1" \
        --query 'StackResourceDetail.[ResourceStatus, PhysicalResourceId]' --output text; then
        case $answer in DELETE_COMPLETE*) answer="" ;; *) answer=${answer#*[[:space:]]} ;; esac
    elif [[ $problem == *"does not exist"* ]]; then
        answer=""
    else
        fail "Could not look into the stack $STACK_NAME: $problem"
    fi
}

# What an earlier run left behind that CloudFormation can't go on from.
settle_stack() {
    if ! call cloudformation describe-stacks --stack-name "$STACK_NAME" --query 'Stacks[0].StackStatus' --output text; then
        [[ $problem == *"does not exist"* ]] || fail "Could not look at the stack $STACK_NAME: $problem"
        return 0
    fi
    case $answer in
        ROLLBACK_COMPLETE | ROLLBACK_FAILED | DELETE_FAILED)
            say "Clearing away the stack $STACK_NAME, which could not be created ..."
            must "delete the stack $STACK_NAME" cloudformation delete-stack --stack-name "$STACK_NAME"
            must "delete the stack $STACK_NAME" cloudformation wait stack-delete-complete --stack-name "$STACK_NAME"
            ;;
        UPDATE_ROLLBACK_FAILED)
            must "roll back the stack $STACK_NAME" cloudformation continue-update-rollback --stack-name "$STACK_NAME"
            must "roll back the stack $STACK_NAME" cloudformation wait stack-rollback-complete --stack-name "$STACK_NAME"
            ;;
        REVIEW_IN_PROGRESS) ;;
        *_IN_PROGRESS) fail "The stack $STACK_NAME is being worked on ($answer): run this again when that is over." ;;
    esac
}

# Set $create_bucket, and $bucket_exists.
find_bucket() {
    local own
    find_in_stack Bucket
    own=$answer
    create_bucket=true bucket_exists=true
    if call s3api head-bucket --bucket "$BUCKET_NAME"; then
        if [ "$own" != "$BUCKET_NAME" ]; then
            say "The bucket $BUCKET_NAME exists: it is used as it is."
            create_bucket=false
        fi
    elif [[ $problem != *404* && $problem != *"Not Found"* ]]; then
        fail "BUCKET_NAME: $BUCKET_NAME is somebody else's, in another region, or not to be reached: $problem"
    elif [ "$own" = "$BUCKET_NAME" ]; then
        fail "The bucket $BUCKET_NAME is gone, which the stack $STACK_NAME made: delete that, and run this again."
    else
        bucket_exists=false
    fi
}

# Set $create_table.
find_table() {
    local own
    find_in_stack Table
    own=$answer
    create_table=true
    if call dynamodb describe-table --table-name "$TABLE_NAME" --output text --query \
        'Table.[KeySchema[0].AttributeName, KeySchema[1].AttributeName, AttributeDefinitions[?AttributeName==`pk`]|[0].AttributeType, AttributeDefinitions[?AttributeName==`sk`]|[0].AttributeType]'; then
        [ "$(echo $answer)" = "pk sk S S" ] \
            || fail "TABLE_NAME: the table $TABLE_NAME has other keys than pk and sk, both strings: choose another name."
        if [ "$own" != "$TABLE_NAME" ]; then
            say "The table $TABLE_NAME exists: it is used as it is."
            create_table=false
        fi
    elif [[ $problem != *ResourceNotFoundException* ]]; then
        fail "TABLE_NAME: could not look at the table $TABLE_NAME: $problem"
    elif [ "$own" = "$TABLE_NAME" ]; then
        fail "The table $TABLE_NAME is gone, which the stack $STACK_NAME made: delete that, and run this again."
    fi
}

# API Gateway has one role for the logs of all APIs of an account; ours is made only where there is none.
find_api_logs_role() {
    find_in_stack ApiLogsRole
    create_api_logs_role=true
    [ -z "$answer" ] || return 0
    must "look at API Gateway's settings" apigateway get-account --query cloudwatchRoleArn --output text
    case $answer in "" | None) ;; *) create_api_logs_role=false ;; esac
}

# deploy_stack PARAMETERS: those that are not given stay as they were.
deploy_stack() {
    call cloudformation deploy --stack-name "$STACK_NAME" --template-file "$root/infra/template.yaml" \
        --capabilities CAPABILITY_IAM --no-fail-on-empty-changeset --parameter-overrides \
        "BucketName=$BUCKET_NAME" "TableName=$TABLE_NAME" \
        "CreateBucket=$create_bucket" "CreateTable=$create_table" "CreateApiLogsRole=$create_api_logs_role" \
        "FunctionName=$FUNCTION_NAME" "ApiName=$API_NAME" "StageName=$STAGE_NAME" "HandlerName=$HANDLER_NAME" \
        "LambdaRuntime=$LAMBDA_RUNTIME" "Architecture=$ARCHITECTURE" \
        "PresignedUrlExpiration=${PRESIGNED_URL_EXPIRATION:-}" "MaxImageSize=${MAX_IMAGE_SIZE:-}" \
        "MaxImagePixels=${MAX_IMAGE_PIXELS:-}" "S3PublicEndpoint=${S3_PUBLIC_ENDPOINT:-}" \
        "AllowAnonymous=${ALLOW_ANONYMOUS:-}" "LogLevel=${LOG_LEVEL:-}" "$@" && return
    local failure=$problem
    if [[ $failure == *describe-stack-events* || $failure == *"Failed to create/update"* ]]; then
        find_reason
        failure=${answer:-$failure}
    fi
    fail "Could not deploy the stack $STACK_NAME: $failure"
}

# Put what failed first in the last run of the stack into $answer.
find_reason() {
    call cloudformation describe-stack-events --stack-name "$STACK_NAME" --output text --max-items 100 --query \
        'StackEvents[].[LogicalResourceId, ResourceStatus, ResourceStatusReason]' || return 0
    answer=$(awk -F '\t' -v stack="$STACK_NAME" '
        $1 == stack && $2 ~ /^(CREATE|UPDATE)_IN_PROGRESS$/ { exit }
        $2 ~ /_FAILED$/ && $1 != stack && $3 !~ /cancelled/ { reason = $1 ": " $3 }
        END { print reason }' <<<"$answer")
}

upload_artifact() {
    local directory=deployments/$FUNCTION_NAME name
    name=$("$build_python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1").zip
    artifact_key=$directory/$name
    call s3api head-object --bucket "$BUCKET_NAME" --key "$artifact_key" \
        || must "upload the artifact" s3 cp --only-show-errors "$1" "s3://$BUCKET_NAME/$artifact_key"
}

remove_old_artifacts() {
    call s3 rm --only-show-errors --recursive "s3://$BUCKET_NAME/deployments/$FUNCTION_NAME/" \
        --exclude "${artifact_key##*/}" || say "The code of former deployments could not be removed: $problem"
}

# Set $api_url, and $probe_url and $probe_host to reach it where names below localhost are not resolved.
find_api() {
    must "find the API" cloudformation describe-stacks --stack-name "$STACK_NAME" --output text \
        --query "Stacks[0].[Outputs[?OutputKey=='ApiId']|[0].OutputValue, Outputs[?OutputKey=='ApiUrl']|[0].OutputValue]"
    local id=${answer%%[[:space:]]*} rest
    api_url=${answer##*[[:space:]]}
    probe_url=$api_url/healthz
    [ -n "${AWS_ENDPOINT_URL:-}" ] || return 0
    api_url=${AWS_ENDPOINT_URL%/}/_aws/execute-api/$id/$STAGE_NAME
    probe_url=$api_url/healthz
    rest=${AWS_ENDPOINT_URL#*://}
    case $rest in
        localhost | localhost[:/]* | 127.0.0.1 | 127.0.0.1[:/]*)
            rest=${rest%%/*}
            case $rest in *:*) rest=:${rest##*:} ;; *) rest="" ;; esac
            api_url=${AWS_ENDPOINT_URL%%://*}://$id.execute-api.localhost$rest/$STAGE_NAME
            ;;
    esac
}

check_api() {
    "$build_python" - "$probe_url" <<'PYTHON' || fail "The API is deployed, but $api_url/healthz does not answer as it should:" \
        "the reason may stand in the log group /aws/lambda/$FUNCTION_NAME."
import sys, time, urllib.error, urllib.request

end = time.monotonic() + 60  # a new stage takes some seconds to be everywhere
while True:
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=30) as answer:
            got = f"{answer.status} {answer.read(200)!r}"
            if answer.status == 200 and "ok" in got:
                break
    except urllib.error.HTTPError as error:
        with error:
            got = f"{error.code} {error.read(200)!r}"
    except OSError as error:
        got = str(error)
    if time.monotonic() > end:
        sys.exit(f"Got {got}")
    time.sleep(1)
PYTHON
}

choose_home
must "use the credentials for AWS" sts get-caller-identity --query Account --output text
say "Deploying to account $answer, ${AWS_ENDPOINT_URL:-$AWS_DEFAULT_REGION} ..."
settle_stack
find_bucket
find_table
find_api_logs_role

build_python="$root/.venv-build/bin/python"
ensure_environment "$root/.venv-build" "$root/requirements/build.txt"
artifact=$("$build_python" "$root/scripts/artifact.py" "$LAMBDA_RUNTIME" "$ARCHITECTURE" "$HANDLER_NAME" "$root/build/lambda")

if [ "$bucket_exists" = false ]; then
    deploy_stack "$@" # the code needs the bucket to lie in; a function that there is keeps its own until then
fi
upload_artifact "$artifact"
deploy_stack "ArtifactBucket=$BUCKET_NAME" "ArtifactKey=$artifact_key" "$@"
remove_old_artifacts
find_api
check_api
printf '%s\n' "$api_url"
