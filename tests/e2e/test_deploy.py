"""`scripts/deploy.sh` on the emulator: the scenario through what it deploys, run again, and whatever can go wrong."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import WaiterError

from tests.e2e import scenario
from tests.support.deployment import RUNTIME, SYSTEM_PATH, VENV, Deployment
from tests.support.emulator import Emulator
from tests.support.pictures import picture
from tests.support.server import ROOT
from tests.support.tokens import SECRET, bearer

pytestmark = pytest.mark.timeout(400)  # a first run makes environments and downloads

ARTIFACT = ROOT / "scripts" / "artifact.py"
HANDLER = "src.handlers.image_handler.lambda_handler"
PROVIDER = {
    "AUTH_JWKS_URL": "https://login.example.com/jwks.json",
    "AUTH_ISSUER": "https://login.example.com/",
    "AUTH_AUDIENCE": "images",
}


@pytest.fixture(scope="module")
def deployment(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    deployment = Deployment(emulator, home=tmp_path_factory.mktemp("home"))
    deployment.deploy(AUTH_SECRET="generate")
    return deployment


@pytest.fixture
def http(deployment: Deployment) -> Iterator[httpx.Client]:
    with deployment.http() as http:
        yield http


@pytest.fixture
def other(emulator: Emulator, tmp_path: Path) -> Deployment:
    """Names under which nothing is deployed."""
    return Deployment(emulator, home=tmp_path / "home")


def upload(http: httpx.Client, **fields: str) -> dict[str, Any]:
    answer = http.post("/images", files={"file": ("a.png", picture("png"))}, data=fields)
    assert answer.status_code == 201, answer.text
    image: dict[str, Any] = answer.json()
    return image


def test_scenario(http: httpx.Client) -> None:
    scenario.run(http)


def test_callers_need_a_token(deployment: Deployment) -> None:
    """The command that the script told makes one, with the secret that it made and nobody saw."""
    assert re.fullmatch(r"[\w-]{43}", deployment.secret())
    command = deployment.said.splitlines()[-1].replace(".venv/bin/python", sys.executable)
    made = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=deployment.environment, capture_output=True, text=True, check=True
    )
    with deployment.anonymous() as http:
        refused = http.post("/images", files={"file": ("a.png", picture("png"))})
        assert (refused.status_code, refused.json()["code"]) == (401, "token_missing")
        assert http.get("/images").status_code == 401
        http.headers.update(bearer(made.stdout.strip()))
        image = upload(http)
        assert image["user_id"] == "alice"
        assert http.delete(f"/images/{image['image_id']}").status_code == 204


def test_links_within_the_service(http: httpx.Client) -> None:
    """The stage is part of them."""
    image = upload(http)
    gallery = http.get("/")
    assert '<base href="/dev/">' in gallery.text
    script = re.search(r'<script type="module" src="(.*?)">', gallery.text)[1]  # type: ignore[index]
    assert http.get(f"/{script}").headers["content-type"].startswith("text/javascript")
    assert "SwaggerUIBundle" in http.get("/docs/docs.js").text
    assert http.get("/openapi.json").json()["servers"] == [{"url": "/dev"}]
    assert upload(http)["image_id"] > image["image_id"]


def test_a_link_works_with_curl(http: httpx.Client, tmp_path: Path) -> None:
    """Signed by the function with its role's temporary credentials, for the host that clients reach."""
    data = picture("jpeg")
    image = http.post("/images", files={"file": ("Übung 1.jpg", data)}).json()
    link = http.get(f"/images/{image['image_id']}", params={"download": "true"}).json()["url"]
    assert "X-Amz-Security-Token=" in link
    subprocess.run(["curl", "-fsSO", "-J", link], cwd=tmp_path, check=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [data]


def test_a_body_that_lambda_could_not_carry(http: httpx.Client) -> None:
    limits = http.get("/limits").json()
    assert limits["max_body_size"] == limits["max_json_body_size"] < 4.5 * 1024 * 1024
    answer = http.post("/images", content=bytes(limits["max_body_size"] + 1), headers={"Content-Type": "image/png"})
    assert answer.status_code == 413
    assert "POST /uploads" in answer.json()["detail"]


def test_again(deployment: Deployment, http: httpx.Client, tmp_path: Path) -> None:
    """The same URL, the same pictures, the same secret, one artifact, and the scenario still; with `aws` alone."""
    image = upload(http, tags="kept")
    before, secret = deployment.url, deployment.secret()
    (tmp_path / "aws").symlink_to(VENV / "bin" / "aws")
    origins = ["https://app.example.com", "https://other.example.com"]
    scheme, _, host = deployment.url.removesuffix("/dev").partition("://")
    own, owns = f"{scheme}://{host}", f"{scheme}://*.{host.partition('.')[2]}"
    assert allowed_origins(deployment) == [owns]
    assert [allows_upload(deployment, origin) for origin in (own, *origins)] == [True, False, False]
    deployment.deploy(
        PATH=f"{tmp_path}:{SYSTEM_PATH}", LOG_LEVEL="WARNING", CORS_ALLOW_ORIGINS=", ".join(origins), QUOTA_IMAGES="9"
    )
    assert deployment.url == before
    assert deployment.secret() == secret
    with deployment.anonymous() as anybody:
        assert anybody.get("/images").status_code == 401
    assert allowed_origins(deployment) == [owns, *origins]
    assert [allows_upload(deployment, origin) for origin in (own, *origins)] == [True, True, True]
    assert not allows_upload(deployment, f"{own}.example.com")
    assert http.get(f"/images/{image['image_id']}").json()["sha256"] == image["sha256"]
    scenario.run(http)
    function = deployment.emulator.client("lambda").get_function_configuration(FunctionName=deployment.function)
    variables = function["Environment"]["Variables"]
    assert (variables["LOG_LEVEL"], variables["QUOTA_IMAGES"]) == ("WARNING", "9")
    assert variables["CORS_ALLOW_ORIGINS"] == ",".join(origins)
    objects = deployment.emulator.client("s3").list_objects_v2(Bucket=deployment.bucket, Prefix="deployments/")
    assert len(objects["Contents"]) == 1


def allowed_origins(deployment: Deployment) -> list[str]:
    """Return the web sites whose pages may send files to the bucket."""
    cors = deployment.emulator.client("s3").get_bucket_cors(Bucket=deployment.bucket)
    return [origin for rule in cors["CORSRules"] for origin in rule["AllowedOrigins"]]


def allows_upload(deployment: Deployment, origin: str) -> bool:
    """Ask the bucket as a browser does, before it lets a page of that origin send a file."""
    bucket = f"{deployment.emulator.url}/{deployment.bucket}/"
    answer = httpx.options(bucket, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    assert answer.status_code in (200, 403)
    return answer.headers.get("access-control-allow-origin") == origin


def test_another_bucket(deployment: Deployment, http: httpx.Client) -> None:
    """The function moves to it and the API stays where it is; the former bucket stays as it was."""
    image, before = upload(http), deployment.url
    name = f"{deployment.bucket}-2"
    deployment.deploy(BUCKET_NAME=name)
    assert deployment.url == before
    elsewhere = upload(http)["image_id"]
    assert name in http.get(f"/images/{elsewhere}").json()["url"]
    assert http.delete(f"/images/{elsewhere}").status_code == 204
    assert image["image_id"] in originals(deployment)
    deployment.deploy()
    assert httpx.get(http.get(f"/images/{image['image_id']}").json()["url"]).status_code == 200


def test_the_data_outlive_the_stack(deployment: Deployment, http: httpx.Client) -> None:
    """Another stack finds them under their names and takes them as they are. The secret goes with the stack."""
    image = upload(http)
    api_id = httpx.URL(deployment.url).host.partition(".")[0]
    deployment.emulator.client("apigateway").delete_rest_api(restApiId=api_id)  # somebody by hand
    assert deployment.refused(API_NAME="renamed").startswith(f"Could not deploy the stack {deployment.stack}: Api: ")
    deployment.delete()
    assert http.get("/healthz").status_code != 200
    said = deployment.deploy("ThrottlingRate=50", AUTH_SECRET=SECRET)
    assert f"The bucket {deployment.bucket} exists: it is used as it is." in said
    assert f"The table {deployment.table} exists: it is used as it is." in said
    with deployment.http() as again:
        assert again.get(f"/images/{image['image_id']}").json()["sha256"] == image["sha256"]
        assert again.get("/images", headers={"Authorization": http.headers["Authorization"]}).status_code == 401


# Permissions


@contextmanager
def without(deployment: Deployment, action: str) -> Iterator[None]:
    """Take one permission from the function's role."""
    iam = deployment.emulator.client("iam")
    arn = deployment.emulator.client("lambda").get_function_configuration(FunctionName=deployment.function)["Role"]
    policy = {"RoleName": arn.rpartition("/")[2], "PolicyName": "image-service"}
    document = iam.get_role_policy(**policy)["PolicyDocument"]
    less = json.loads(json.dumps(document))
    for statement in less["Statement"]:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        statement["Action"] = [kept for kept in actions if kept != action]
    less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
    assert less != document
    iam.put_role_policy(**policy, PolicyDocument=json.dumps(less))
    try:
        yield
    finally:
        iam.put_role_policy(**policy, PolicyDocument=json.dumps(document))


@pytest.mark.parametrize("action", ["s3:PutObject", "dynamodb:PutItem"])
def test_an_upload_without_permission(deployment: Deployment, http: httpx.Client, action: str) -> None:
    """An explicit error, and nothing left: no record without an object, no object without a record."""
    before = originals(deployment)
    with without(deployment, action):
        answer = http.post("/images", files={"file": ("a.png", picture("png"))}, data={"user_id": "refused"})
    assert_store_failed(answer)
    assert http.get("/images", params={"user_id": "refused"}).json()["images"] == []
    assert originals(deployment) == before


def originals(deployment: Deployment) -> set[str]:
    """Return the ids of the images that the bucket has objects of."""
    objects = deployment.emulator.client("s3").list_objects_v2(Bucket=deployment.bucket, Prefix="originals/")
    return {Path(entry["Key"]).stem for entry in objects.get("Contents", [])}


def assert_store_failed(answer: httpx.Response) -> None:
    assert answer.status_code == 502, answer.text
    assert answer.json()["code"] == "store_failed"


def test_reading_without_permission(deployment: Deployment, http: httpx.Client) -> None:
    """It is not taken for there being nothing."""
    image = upload(http, tags="unread")
    with without(deployment, "dynamodb:Query"):
        assert_store_failed(http.get("/images"))
        assert_store_failed(http.get("/images", params={"tags": "unread"}))
    with without(deployment, "dynamodb:GetItem"):
        assert_store_failed(http.get(f"/images/{image['image_id']}"))
        assert_store_failed(http.get("/readyz"))
    with without(deployment, "s3:ListBucket"):
        assert_store_failed(http.get("/readyz"))
    with without(deployment, "s3:GetObject"):
        assert httpx.get(http.get(f"/images/{image['image_id']}").json()["url"]).status_code == 403
    assert http.get("/readyz").status_code == 200


def test_a_delete_without_permission(deployment: Deployment, http: httpx.Client) -> None:
    """What could not be removed is there still; once the record is gone the image is, whatever became of its object."""
    image = upload(http)
    with without(deployment, "dynamodb:DeleteItem"):
        assert_store_failed(http.delete(f"/images/{image['image_id']}"))
    assert httpx.get(http.get(f"/images/{image['image_id']}").json()["url"]).status_code == 200
    with without(deployment, "s3:DeleteObject"):
        assert http.delete(f"/images/{image['image_id']}").status_code == 204
    assert http.get(f"/images/{image['image_id']}").status_code == 404


def test_counting_without_permission(deployment: Deployment, http: httpx.Client) -> None:
    """The image is stored, and not counted."""
    with without(deployment, "dynamodb:UpdateItem"):
        image = upload(http, user_id="uncounted")
    assert http.get("/usage", params={"user_id": "uncounted"}).json() == {"images": 0, "bytes": 0}
    assert http.delete(f"/images/{image['image_id']}").status_code == 204


# What is in the way


def test_no_command_line(other: Deployment, tmp_path: Path) -> None:
    for tool in ("dirname", "mktemp", "rm", "sed"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool, path=SYSTEM_PATH)))
    line = other.refused(PATH=str(tmp_path))
    assert line == "Neither awslocal nor aws is installed: pip install awscli awscli-local"
    line = other.refused(PATH=str(tmp_path), AWS_ENDPOINT_URL="")
    assert line == "aws, the AWS command line interface, is not installed: pip install awscli"


def test_credentials_that_are_wrong(other: Deployment) -> None:
    line = other.refused(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE")
    assert line.startswith("Could not use the credentials for AWS: ")


def test_nobody_answers(other: Deployment) -> None:
    line = other.refused(AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert "Could not connect to the endpoint URL" in line


@pytest.mark.parametrize("argument", ["MemoySize=3008", "BucketName=b", "MemorySize", "--help"])
def test_an_argument_that_is_none(other: Deployment, argument: str) -> None:
    done = other.run(argument)
    assert done.returncode != 0
    assert done.stderr.startswith(f"{argument}: wants NAME=VALUE, with MemorySize, ")


@pytest.mark.parametrize(
    ("arguments", "answer", "said"),
    [
        (
            "s3api head-bucket",
            "echo 'An error occurred (403): Forbidden' >&2; exit 254",
            "is somebody else's, or not to",
        ),
        ("s3api head-bucket", "echo eu-west-1", "is in eu-west-1, wants one in us-east-1"),
        ("s3api head-bucket", "echo 'Could not connect to https://my-404-images' >&2; exit 255", "not to be reached"),
        ("dynamodb describe-table", "printf 'DELETING\\tpk\\tsk\\tS\\tS\\n'", "is DELETING: run this again later"),
        ("lambda get-function-configuration", "echo imageService", "exists and is not of the stack"),
    ],
)
def test_what_only_aws_says(other: Deployment, tmp_path: Path, arguments: str, answer: str, said: str) -> None:
    """Here by a command line that answers so, and else asks the emulator."""
    fake = tmp_path / "awslocal"
    fake.write_text(
        f'#!/bin/bash\ncase "$*" in "{arguments} "*) {answer}; exit ;; esac\nexec {VENV}/bin/awslocal "$@"\n'
    )
    fake.chmod(0o755)
    assert said in other.refused(PATH=f"{tmp_path}:{SYSTEM_PATH}")


def test_a_function_that_exists(deployment: Deployment, other: Deployment) -> None:
    """It is not taken over; nor is the API's function exchanged for one of another name."""
    line = other.refused(FUNCTION_NAME=deployment.function, STACK_NAME=other.stack)
    assert line.startswith(f"FUNCTION_NAME: the function {deployment.function} exists and is not of the stack")
    line = deployment.refused(FUNCTION_NAME=other.function, STACK_NAME=deployment.stack)
    assert line.startswith(f"FUNCTION_NAME: the stack {deployment.stack} has the function {deployment.function}")


def test_a_table_of_another_kind(other: Deployment) -> None:
    other.emulator.client("dynamodb").create_table(
        TableName=other.table,
        AttributeDefinitions=[{"AttributeName": "image_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "image_id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    assert other.refused().startswith(f"TABLE_NAME: the table {other.table} has other keys than pk and sk")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("STAGE_NAME", "a-b", "letters, digits and underscores"),
        ("LAMBDA_RUNTIME", "python3.8", "LAMBDA_RUNTIME"),
        ("ARCHITECTURE", "sparc", "ARCHITECTURE"),
        ("HANDLER_NAME", "src.handlers.image_handler.no_handler", "HANDLER_NAME"),
        ("HANDLER_NAME", "src.no_module.lambda_handler", "HANDLER_NAME"),
        ("PRESIGNED_URL_EXPIRATION", "soon", "PRESIGNED_URL_EXPIRATION: got 'soon', wants an integer"),
        ("FUNCTION_NAME", "a b", "FUNCTION_NAME: got 'a b', wants"),
        ("API_NAME", "a b", "API_NAME: got 'a b', wants"),
        ("ALLOW_ANONYMOUS", "true", "ALLOW_ANONYMOUS: got 'true', wants 1"),
        ("AUTH_SECRET", "short", "AUTH_SECRET: got a value that is not shown, wants generate, or"),
        ("AUTH_SECRET", f"{SECRET}, short", "AUTH_SECRET: got a value that is not shown, wants generate, or"),
        ("AUTH_JWKS_URL", PROVIDER["AUTH_JWKS_URL"], "AUTH_ISSUER: got nothing"),
        ("AUTH_AUDIENCE", "images", "AUTH_SECRET, AUTH_JWKS_URL: got neither, wants one since AUTH_AUDIENCE is set"),
    ],
)
def test_a_value_that_is_wrong(other: Deployment, tmp_path: Path, variable: str, value: str, said: str) -> None:
    assert said in other.refused(**aws_that_has(tmp_path, "token"), **{variable: value})
    assert not (tmp_path / "aws.parameters").exists()


def test_an_earlier_run_that_failed(other: Deployment) -> None:
    """What it left of a stack is cleared away. Another one breaks off, and says why; the next goes on from there."""
    stacks = other.emulator.client("cloudformation")
    stacks.create_stack(StackName=other.stack, TemplateBody=json.dumps(IMPOSSIBLE), Capabilities=["CAPABILITY_IAM"])
    with pytest.raises(WaiterError):
        stacks.get_waiter("stack_create_complete").wait(StackName=other.stack, WaiterConfig={"Delay": 1})
    done = other.run(**user_without(other, "s3:PutObject"))
    assert done.returncode != 0
    assert f"Clearing away the stack {other.stack}" in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("Could not upload the artifact: ")
    assert "AccessDenied" in line
    other.deploy()
    with other.http() as http:
        scenario.run(http)


IMPOSSIBLE = {
    "Resources": {
        "Policy": {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyName": "nobody's",
                "Roles": ["no-such-role"],
                "PolicyDocument": {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]},
            },
        }
    }
}


def user_without(deployment: Deployment, action: str) -> dict[str, str]:
    """Return the credentials of a user who may do everything else."""
    iam = deployment.emulator.client("iam")
    iam.create_user(UserName=deployment.stack)
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": action, "Resource": "*"},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=deployment.stack, PolicyName="most", PolicyDocument=policy)
    key = iam.create_access_key(UserName=deployment.stack)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


# Who may come in


def aws_that_has(directory: Path, access: str, *, status: str = "UPDATE_COMPLETE") -> dict[str, str]:
    """Return an environment with an `aws` whose stack was deployed so; what it is to deploy is refused, and kept."""
    fake = directory / "aws"
    none = 'echo "An error occurred: Stack with id s does not exist" >&2; exit 254'
    stack = f"printf '{status}\\tbucket\\tkey\\tx86_64\\t{access}\\n'" if access else none
    fake.write_text(FAKE.replace("STACK", stack))
    fake.chmod(0o755)
    return {"PATH": f"{directory}:{SYSTEM_PATH}", "AWS_ENDPOINT_URL": ""}


FAKE = r"""#!/bin/bash
printf '%s\n' "$*" >>"$0.calls"
case "$*" in
    "sts "*) echo 000000000000 ;;
    "cloudformation describe-stacks "*) STACK ;;
    "s3api head-bucket "*) echo us-east-1 ;;
    "dynamodb describe-table "*) printf 'ACTIVE\tpk\tsk\tS\tS\n' ;;
    "lambda get-function-configuration "*) echo 'An error occurred (ResourceNotFoundException)' >&2; exit 254 ;;
    "cloudformation deploy "*)
        file=${!#}
        cp -p "${file#file://}" "$0.parameters"
        echo "not here: $AUTH_SECRET" >&2
        exit 255
        ;;
esac
"""
EVERYBODY = {"ALLOW_ANONYMOUS": "1"}
NOTHING = {"AuthSecret": "", "AuthJwksUrl": "", "AuthIssuer": "", "AuthAudience": ""}
PROVIDED = {
    "AuthJwksUrl": PROVIDER["AUTH_JWKS_URL"],
    "AuthIssuer": PROVIDER["AUTH_ISSUER"],
    "AuthAudience": PROVIDER["AUTH_AUDIENCE"],
}


@pytest.mark.parametrize(
    ("before", "given", "deployed"),
    [
        ("", {"AUTH_SECRET": SECRET}, NOTHING | {"AuthSecret": SECRET}),
        ("token", EVERYBODY, {}),
        ("token", {"AUTH_SECRET": "generate"}, dict.fromkeys(PROVIDED, "")),
        ("token", EVERYBODY | {"AUTH_SECRET": ""}, NOTHING),
        ("token", PROVIDER, PROVIDED | {"AuthSecret": ""}),
        ("oidc", {"AUTH_SECRET": SECRET, "AUTH_ISSUER": "us"}, NOTHING | {"AuthSecret": SECRET, "AuthIssuer": "us"}),
    ],
)
def test_what_is_said_now_counts_or_what_was_deployed(
    other: Deployment, tmp_path: Path, before: str, given: dict[str, str], deployed: dict[str, str]
) -> None:
    line = other.refused(**aws_that_has(tmp_path, before), **given)
    assert line.startswith(f"Could not deploy the stack {other.stack}: not here")
    assert SECRET not in line
    file = tmp_path / "aws.parameters"
    assert file.stat().st_mode & 0o777 == 0o600
    parameters = dict(parameter.split("=", 1) for parameter in json.loads(file.read_text()))
    assert {name: value for name, value in parameters.items() if name.startswith("Auth")} == deployed
    assert SECRET not in (tmp_path / "aws.calls").read_text()  # nor in the list of processes


def test_a_secret_is_made_where_there_was_another_kind(other: Deployment, tmp_path: Path) -> None:
    other.refused(**aws_that_has(tmp_path, "oidc"), AUTH_SECRET="generate")
    text = (tmp_path / "aws.parameters").read_text()
    (secret,) = re.findall(r'"AuthSecret=([\w-]{43})"', text)
    assert '"AuthJwksUrl="' in text
    assert secret not in (tmp_path / "aws.calls").read_text()


@pytest.mark.parametrize(
    ("before", "given"),
    [
        ("", {}),
        ("open", {}),
        ("", {"AUTH_SECRET": ""}),
        ("token", {"AUTH_SECRET": ""}),
        ("oidc", {"AUTH_SECRET": ""}),
    ],
)
def test_an_open_api_at_aws(other: Deployment, tmp_path: Path, before: str, given: dict[str, str]) -> None:
    """It has to be asked for."""
    line = other.refused(**aws_that_has(tmp_path, before), **given)
    assert line.startswith("AUTH_SECRET, AUTH_JWKS_URL: got neither: nobody is asked who they are")
    assert not (tmp_path / "aws.parameters").exists()


def test_no_secret_stays_of_a_stack_that_is_cleared_away(other: Deployment, tmp_path: Path) -> None:
    line = other.refused(**aws_that_has(tmp_path, "token", status="DELETE_FAILED"))
    assert line.startswith("AUTH_SECRET, AUTH_JWKS_URL: got neither")


def test_an_api_that_is_laid_open(deployment: Deployment) -> None:
    """Not even on an emulator by mistake."""
    assert "ALLOW_ANONYMOUS=1 allows that" in deployment.refused(AUTH_SECRET="")


def test_both_kinds_of_tokens(other: Deployment) -> None:
    assert other.refused(AUTH_SECRET=SECRET, **PROVIDER) == "AUTH_SECRET, AUTH_JWKS_URL: got both, wants one of them"


# The artifact


def test_the_artifact(deployment: Deployment, tmp_path: Path) -> None:
    """The same bytes wherever it is built; no other AWS SDK, nothing for a server alone, no path of this machine."""
    python = ROOT / ".venv-build" / "bin" / "python"
    functions = deployment.emulator.client("lambda")
    function = functions.get_function_configuration(FunctionName=deployment.function)
    command = [python, ARTIFACT, RUNTIME, function["Architectures"][0], HANDLER, tmp_path]
    path = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    assert hashlib.sha256(path.read_bytes()).digest() == base64.b64decode(function["CodeSha256"])
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[0].partition("-")[0] for name in archive.namelist()}
        assert {"src", "pydynox", "obstore", "pyvips", "jwt", "cryptography"} <= names
        assert names & {"boto3", "botocore", "uvicorn", "tests", "pip"} == set()
        for name in archive.namelist():
            assert str(ROOT).encode() not in archive.read(name), name
