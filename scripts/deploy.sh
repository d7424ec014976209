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

say() { printf '%s\n' "$*" >&2; }

# wants VARIABLE PATTERN "what it wants": before anything is done.
wants() { [[ ${!1} =~ ^$2$ ]] || fail "$1: got '${!1}', wants $3"; }

check_names() {
    wants FUNCTION_NAME '[A-Za-z0-9_-]{1,64}' "1 to 64 letters, digits, - and _"
    wants API_NAME '[A-Za-z0-9._-]{1,128}' "1 to 128 letters, digits, ., - and _"
    wants STAGE_NAME '[A-Za-z0-9_]{1,128}' "letters, digits and underscores"
    wants STACK_NAME '[A-Za-z][A-Za-z0-9-]{0,127}' "a letter, then letters, digits and -"
    wants LAMBDA_RUNTIME 'python3\.1[234]' "python3.12, python3.13 or python3.14"
    local argument
    for argument in "$@"; do
        [[ $argument =~ ^(MemorySize|Timeout|ThrottlingRate|ThrottlingBurst|LogRetention|AlarmTopicArn)=. ]] \
            || fail "$argument: wants NAME=VALUE, with MemorySize, Timeout, ThrottlingRate, ThrottlingBurst," \
                "LogRetention or AlarmTopicArn"
    done
}

# What can't be so whatever is deployed.
check_access() {
    local name secret='[[:space:]]*[^,[:space:]][^,]{30,}[^,[:space:]][[:space:]]*'
    if [ -n "${AUTH_SECRET:-}" ] && [ -n "${AUTH_JWKS_URL:-}" ]; then
        fail "AUTH_SECRET, AUTH_JWKS_URL: got both, wants one of them"
    fi
    for name in AUTH_ISSUER AUTH_AUDIENCE; do
        if [ -n "${AUTH_JWKS_URL:-}" ] && [ -z "${!name:-}" ]; then
            fail "$name: got nothing, wants what tokens have, since AUTH_JWKS_URL is set"
        elif [ -n "${!name:-}" ] && [ -z "${AUTH_JWKS_URL:-}${AUTH_SECRET:-}" ]; then
            fail "AUTH_SECRET, AUTH_JWKS_URL: got neither, wants one since $name is set"
        fi
    done
    [[ ${AUTH_SECRET:-generate} = generate || $AUTH_SECRET =~ ^$secret(,$secret)*$ ]] || fail "AUTH_SECRET: got a value" \
        "that is not shown, wants generate, or comma-separated secrets of at least 32 characters each"
}

choose_home() {
    api_origin=""
    # One that reads other formats than the one of old, or another endpoint for some service, is of no use here.
    export AWS_PAGER="" AWS_CLI_AUTO_PROMPT=off AWS_CLI_ERROR_FORMAT=legacy DISABLE_DEPRECATION_NOTICE=1
    unset AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL_DYNAMODB
    template="$root/infra/template.yaml"
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
        find_api_origin
        # LocalStack knows Retain only, and takes the other for Delete.
        template="$scratch/template.yaml"
        sed 's/RetainExceptOnCreate/Retain/' "$root/infra/template.yaml" >"$template"
    else
        command -v aws >/dev/null || fail "aws, the AWS command line interface, is not installed: pip install awscli"
        aws=(aws)
        export AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true
    fi
    : "${AWS_REGION:=${AWS_DEFAULT_REGION:-$("${aws[@]}" configure get region 2>/dev/null || echo us-east-1)}}"
    export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION
}

# Set $api_origin to where clients find the emulator's APIs: with * for an API's id, where each has a name of its own.
find_api_origin() {
    local host=${AWS_ENDPOINT_URL#*://}
    host=${host%%/*}
    case ${host%%:*} in
        localhost | 127.0.0.1) host="*.execute-api.localhost${host#"${host%%:*}"}" ;;
        localhost.localstack.cloud) host="*.execute-api.$host" ;;
    esac
    api_origin=${AWS_ENDPOINT_URL%%://*}://$host
}

# Run the AWS command line. Its output is in $answer then, and if it fails, what it says of that in $problem.
call() {
    local status=0
    answer=$("${aws[@]}" "$@" 2>"$scratch/errors") || status=$?
    problem=$(grep -m 1 'An error occurred' "$scratch/errors" || grep -v '^[[:space:]]*$' "$scratch/errors" | tail -n 1) || true
    : "${problem:=${aws[0]} $1 $2 failed}"
    return "$status"
}

# must "do this" ARGUMENTS: as call, and the end if that fails.
must() {
    local what=$1
    shift
    call "$@" || fail "Could not $what: $problem"
}

# Set $stack_status, $is_broken, $former_access, $former_artifact, and $ARCHITECTURE.
look_at_stack() {
    stack_status="" is_broken=false former_access="" former_artifact=""
    case "$(uname -m)" in aarch64 | arm64) local here=arm64 ;; *) local here=x86_64 ;; esac
    if call cloudformation describe-stacks --stack-name "$STACK_NAME" --output text --query \
        "Stacks[0].[StackStatus, Parameters[?ParameterKey=='ArtifactBucket']|[0].ParameterValue, Parameters[?ParameterKey=='ArtifactKey']|[0].ParameterValue, Parameters[?ParameterKey=='Architecture']|[0].ParameterValue, Outputs[?OutputKey=='Access']|[0].OutputValue]"; then
        local bucket key architecture
        IFS=$'\t' read -r stack_status bucket key architecture former_access <<<"${answer//$'\t\t'/$'\t'None$'\t'}"
        case $architecture in arm64 | x86_64) here=$architecture ;; esac # whoever runs this, the function stays as it is
        if [ "$key" != None ] && [ "$key" != none ]; then
            former_artifact=s3://$bucket/$key
        fi
        case $stack_status in
            ROLLBACK_COMPLETE | ROLLBACK_FAILED | CREATE_FAILED | DELETE_FAILED)
                is_broken=true former_access="" former_artifact="" # nothing of it stays
                ;;
        esac
    elif [[ $problem != *"does not exist"* ]]; then
        fail "Could not look at the stack $STACK_NAME: $problem"
    fi
    : "${ARCHITECTURE:=$here}"
    wants ARCHITECTURE '(arm64|x86_64)' "arm64 or x86_64"
}

# Set $access to the parameters that say who may come in. If nothing is said of that they stay as they were deployed:
# whoever updates the API need not know its secret, and does not lay it open. Else all of them are as is said now.
choose_access() {
    local chosen=$former_access
    access=()
    if [ -n "${AUTH_SECRET:-}" ]; then
        chosen=token
    elif [ -n "${AUTH_JWKS_URL:-}" ]; then
        chosen=oidc
    elif [ -n "${AUTH_SECRET+set}" ]; then
        chosen=open
    fi
    case $chosen:$former_access in
        token:* | oidc:*)
            if [ "${ALLOW_ANONYMOUS:-}" = 1 ]; then
                say "ALLOW_ANONYMOUS=1 changes nothing: callers need tokens. With an empty AUTH_SECRET besides, they" \
                    "would not."
            fi
            ;;
        *:token | *:oidc) may_be_open ;;
        *) [ -n "${AWS_ENDPOINT_URL:-}" ] || may_be_open ;;
    esac
    if [ -n "${AUTH_SECRET+set}${AUTH_JWKS_URL:-}" ]; then
        access=("AuthJwksUrl=${AUTH_JWKS_URL:-}" "AuthIssuer=${AUTH_ISSUER:-}" "AuthAudience=${AUTH_AUDIENCE:-}")
        case ${AUTH_SECRET:-}:$former_access in
            generate:token) unset AUTH_SECRET ;; # there is one
            generate:*) AUTH_SECRET=$(head -c 32 /dev/urandom | base64 | tr -d '=\n' | tr '+/' '-_') ;;
        esac
        [ -z "${AUTH_SECRET+set}${AUTH_JWKS_URL:-}" ] || access+=("AuthSecret=${AUTH_SECRET:-}")
    fi
    [ -z "${URL_SIGNING_KEYS+set}" ] || access+=("UrlSigningKeys=$URL_SIGNING_KEYS")
}

may_be_open() {
    [ "${ALLOW_ANONYMOUS:-}" = 1 ] || fail "AUTH_SECRET, AUTH_JWKS_URL: got neither: nobody is asked who they are, so" \
        "whoever reaches the API may do everything. AUTH_SECRET=generate makes a secret, ALLOW_ANONYMOUS=1 allows that."
}

# Mend what an earlier run left that CloudFormation can't go on from.
settle_stack() {
    if [ $is_broken = true ]; then
        # Bucket and table stay whatever happens, unless their own creation was what broke off.
        say "Clearing away the stack $STACK_NAME, which is $stack_status ..."
        must "delete the stack $STACK_NAME" cloudformation delete-stack --stack-name "$STACK_NAME"
        must "delete the stack $STACK_NAME" cloudformation wait stack-delete-complete --stack-name "$STACK_NAME"
        stack_status=""
    fi
    case $stack_status in
        UPDATE_ROLLBACK_FAILED)
            must "roll back the stack $STACK_NAME" cloudformation continue-update-rollback --stack-name "$STACK_NAME"
            must "roll back the stack $STACK_NAME" cloudformation wait stack-rollback-complete --stack-name "$STACK_NAME"
            ;;
        REVIEW_IN_PROGRESS) ;;
        *_IN_PROGRESS) fail "The stack $STACK_NAME is being worked on ($stack_status): run this again when that is over." ;;
    esac
}

# Set $resources: a line for each of the stack's, of what the template calls it, its status and its name.
look_into_stack() {
    resources=""
    [ -n "$stack_status" ] || return 0
    must "look into the stack $STACK_NAME" cloudformation describe-stack-resources --stack-name "$STACK_NAME" \
        --query 'StackResources[].[LogicalResourceId, ResourceStatus, PhysicalResourceId]' --output text
    resources=$answer
}

# Put the name that the stack's resource $1 has into $answer; nothing if there is no such resource.
find_in_stack() {
    answer=$(awk -F '\t' -v resource="$1" '$1 == resource && $2 !~ /^DELETE_/ { print $3 }' <<<"$resources")
}

gone() {
    fail "The $1 $2 is gone, which the stack $STACK_NAME made. To have it made anew, delete the stack and run this" \
        "again; the API will have another URL: ${aws[*]} cloudformation delete-stack --stack-name $STACK_NAME"
}

# Set $create_bucket, and $bucket_exists.
find_bucket() {
    local own
    find_in_stack Bucket
    own=$answer
    create_bucket=true bucket_exists=true
    # A bucket of that name might be anybody's, and even open to us.
    if call s3api head-bucket --bucket "$BUCKET_NAME" --expected-bucket-owner "$account" \
        --query BucketRegion --output text; then
        case $answer in
            "" | None | "$AWS_REGION") ;;
            *) fail "BUCKET_NAME: the bucket $BUCKET_NAME is in $answer, wants one in $AWS_REGION" ;;
        esac
        if [ "$own" != "$BUCKET_NAME" ]; then
            say "The bucket $BUCKET_NAME exists: it is used as it is."
            create_bucket=false
        fi
    elif [[ $problem != *"(404)"* ]]; then
        fail "BUCKET_NAME: the bucket $BUCKET_NAME is somebody else's, or not to be reached: $problem"
    elif [ "$own" = "$BUCKET_NAME" ]; then
        gone bucket "$BUCKET_NAME"
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
        "Table.[TableStatus, KeySchema[0].AttributeName, KeySchema[1].AttributeName, AttributeDefinitions[?AttributeName=='pk']|[0].AttributeType, AttributeDefinitions[?AttributeName=='sk']|[0].AttributeType]"; then
        case ${answer//[[:space:]]/ } in
            "ACTIVE pk sk S S" | "UPDATING pk sk S S") ;;
            *" pk sk S S") fail "TABLE_NAME: the table $TABLE_NAME is ${answer%%[[:space:]]*}: run this again later." ;;
            *) fail "TABLE_NAME: the table $TABLE_NAME has other keys than pk and sk, both strings: choose another name." ;;
        esac
        if [ "$own" != "$TABLE_NAME" ]; then
            say "The table $TABLE_NAME exists: it is used as it is."
            create_table=false
        fi
    elif [[ $problem != *ResourceNotFoundException* ]]; then
        fail "TABLE_NAME: could not look at the table $TABLE_NAME: $problem"
    elif [ "$own" = "$TABLE_NAME" ]; then
        gone table "$TABLE_NAME"
    fi
}

# A function of that name belongs to this stack, or there is none.
check_function() {
    find_in_stack Function
    if [ -n "$answer" ]; then
        # The API's stage would go on to call the former one.
        [ "$answer" = "$FUNCTION_NAME" ] \
            || fail "FUNCTION_NAME: the stack $STACK_NAME has the function $answer: for another, choose another STACK_NAME."
    elif call lambda get-function-configuration --function-name "$FUNCTION_NAME" --query FunctionName --output text; then
        fail "FUNCTION_NAME: the function $FUNCTION_NAME exists and is not of the stack $STACK_NAME: delete it, or choose" \
            "another name."
    elif [[ $problem != *ResourceNotFoundException* ]]; then
        fail "FUNCTION_NAME: could not look for the function $FUNCTION_NAME: $problem"
    fi
}

# API Gateway has one role for the logs of all APIs of an account; ours is made only where there is none.
find_api_logs_role() {
    find_in_stack ApiLogsRole
    create_api_logs_role=true
    [ -z "$answer" ] || return 0
    must "look at API Gateway's settings" apigateway get-account --query cloudwatchRoleArn --output text
    case $answer in "" | None) return 0 ;; esac
    # One that was deleted stays in the settings.
    if call iam get-role --role-name "${answer##*/}" || [[ $problem != *NoSuchEntity* ]]; then
        create_api_logs_role=false
    fi
}

# deploy_stack PARAMETERS: those that are not given stay as they were.
deploy_stack() {
    local parameters="$scratch/parameters.json" origins=${CORS_ALLOW_ORIGINS:-}
    origins=${origins//[[:space:]]/}
    # There are secrets among them, and everybody on this machine can read the arguments of a process.
    (
        umask 077
        printf '%s\0' "BucketName=$BUCKET_NAME" "CreateBucket=$create_bucket" "TableName=$TABLE_NAME" \
            "CreateTable=$create_table" "ApiOrigin=$api_origin" "CorsAllowOrigins=$origins" "$@" | "$build_python" -c \
            'import json, sys; json.dump(sys.stdin.read().split("\0")[:-1], sys.stdout)' >"$parameters"
    )
    call cloudformation deploy --stack-name "$STACK_NAME" --template-file "$template" --capabilities CAPABILITY_IAM \
        --no-fail-on-empty-changeset --parameter-overrides "file://$parameters" && return
    local failure=$problem secret
    if [[ $failure == *describe-stack-events* || $failure == *"Failed to create/update"* ]]; then
        find_reason
        failure=${answer:-$failure}
    fi
    for secret in "${AUTH_SECRET:-}" "${URL_SIGNING_KEYS:-}"; do
        [ -z "$secret" ] || failure=${failure//"$secret"/...} # Lambda repeats an environment that is too large
    done
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
    artifact_key=deployments/$FUNCTION_NAME/${1##*/}
    call s3api head-object --bucket "$BUCKET_NAME" --key "$artifact_key" \
        || must "upload the artifact" s3 cp --only-show-errors "$1" "s3://$BUCKET_NAME/$artifact_key"
}

remove_former_artifact() {
    case $former_artifact in "" | "s3://$BUCKET_NAME/$artifact_key") return 0 ;; esac
    call s3 rm --only-show-errors "$former_artifact" || say "The former code could not be removed: $problem"
}

# Set $api_url, $probe_url to reach it where names below localhost are not resolved, $log_group and $now_access.
find_api() {
    must "find the API" cloudformation describe-stacks --stack-name "$STACK_NAME" --output text \
        --query "Stacks[0].[Outputs[?OutputKey=='ApiId']|[0].OutputValue, Outputs[?OutputKey=='ApiUrl']|[0].OutputValue, Outputs[?OutputKey=='FunctionLogs']|[0].OutputValue, Outputs[?OutputKey=='Access']|[0].OutputValue]"
    local id
    IFS=$'\t' read -r id api_url log_group now_access <<<"$answer"
    probe_url=$api_url
    [ -n "${AWS_ENDPOINT_URL:-}" ] || return 0
    api_url=${AWS_ENDPOINT_URL%/}/_aws/execute-api/$id/$STAGE_NAME
    probe_url=$api_url
    [[ $api_origin != *"*"* ]] || api_url=${api_origin/\*/$id}/$STAGE_NAME
}

# check_api PATH EXPECTED: it has to answer with that, soon.
check_api() {
    local got
    got=$("$build_python" - "$probe_url$1" "$2" <<'PYTHON'
import http.client, sys, time, urllib.error, urllib.request

end = time.monotonic() + 60  # a new stage takes some seconds to be everywhere
while True:
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=30) as answer:
            status, body = answer.status, answer.read(1000).decode()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read(1000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        status, body = 0, str(error)
    if status == 200 and sys.argv[2] in body:
        break
    if time.monotonic() > end:
        print(status, body)
        break
    time.sleep(1)
PYTHON
    )
    [ -z "$got" ] || fail "The API is deployed, but $api_url$1 does not answer as it should; the log group $log_group may" \
        "tell why. It says: $got"
}

# The secret itself is not for logs.
tell_about_tokens() {
    [ "$now_access" = token ] || return 0
    say "Callers need a token. This makes one; what is in the parentheses shows the secret:"
    say "AUTH_SECRET=\$(${aws[*]} lambda get-function-configuration --function-name $FUNCTION_NAME --region $AWS_REGION" \
        "--query Environment.Variables.AUTH_SECRET --output text)" \
        ".venv/bin/python -m src token --user alice --scope images:write --expires 30d"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
check_names "$@"
check_access
choose_home
must "use the credentials for AWS" sts get-caller-identity --query Account --output text
account=$answer
say "Deploying to account $account, ${AWS_ENDPOINT_URL:-$AWS_REGION} ..."
look_at_stack
choose_access
settle_stack
look_into_stack
find_bucket
find_table
check_function
find_api_logs_role

build_python="$root/.venv-build/bin/python"
ensure_environment "$root/.venv-build" "$root/requirements/build.txt"
export BUCKET_NAME TABLE_NAME S3_PUBLIC_ENDPOINT # which the artifact is tried with
artifact=$("$build_python" "$root/scripts/artifact.py" "$LAMBDA_RUNTIME" "$ARCHITECTURE" "$HANDLER_NAME" "$root/build/lambda")

# The code needs the bucket to lie in. A function that there is stays as it is until then.
[ "$bucket_exists" = true ] || deploy_stack
upload_artifact "$artifact"
deploy_stack "ArtifactBucket=$BUCKET_NAME" "ArtifactKey=$artifact_key" "CreateApiLogsRole=$create_api_logs_role" \
    "FunctionName=$FUNCTION_NAME" "ApiName=$API_NAME" "StageName=$STAGE_NAME" "HandlerName=$HANDLER_NAME" \
    "LambdaRuntime=$LAMBDA_RUNTIME" "Architecture=$ARCHITECTURE" \
    "PresignedUrlExpiration=${PRESIGNED_URL_EXPIRATION:-}" "MaxImageSize=${MAX_IMAGE_SIZE:-}" \
    "MaxImagePixels=${MAX_IMAGE_PIXELS:-}" "S3PublicEndpoint=${S3_PUBLIC_ENDPOINT:-}" \
    "AllowAnonymous=${ALLOW_ANONYMOUS:-}" "LogLevel=${LOG_LEVEL:-}" "Metrics=${METRICS:-}" "QuotaImages=${QUOTA_IMAGES:-}" \
    "QuotaBytes=${QUOTA_BYTES:-}" ${access[@]+"${access[@]}"} "$@"
remove_former_artifact
find_api
check_api /healthz '"ok"'
check_api /readyz '"ready"'
tell_about_tokens
printf '%s\n' "$api_url"
