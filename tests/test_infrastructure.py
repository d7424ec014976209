"""`infra/template.yaml` and what hands it its parameters; cfn-lint looks after the rest of it."""

import re
import runpy
from typing import Any

import pytest
import yaml

from src.common.config import VARIABLES
from tests.support.server import ROOT

DEPLOY = (ROOT / "scripts" / "deploy.sh").read_text()


class Loader(yaml.SafeLoader):
    """Reads `!Ref x` and its like as their arguments."""


Loader.add_multi_constructor("!", lambda loader, _, node: _plain(loader, node))


def _plain(loader: Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


TEMPLATE: dict[str, Any] = yaml.load((ROOT / "infra" / "template.yaml").read_text(), Loader)
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


@pytest.mark.parametrize("name", ["Bucket", "Table"])
def test_data_outlive_the_stack(name: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


def test_what_the_emulator_does_not_apply() -> None:
    """Its stacks leave these out, so no test sees them at work."""
    bucket, table = RESOURCES["Bucket"]["Properties"], RESOURCES["Table"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    rules = {rule.get("Prefix"): rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules["incoming/"]["ExpirationInDays"] == 1
    assert [prefix for prefix, rule in rules.items() if "ExpirationInDays" in rule] == ["incoming/"]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_the_function_gets_variables_that_there_are() -> None:
    names = set(RESOURCES["Function"]["Properties"]["Environment"]["Variables"])
    assert names <= {variable.name for variable in VARIABLES}


def test_what_the_function_gets_is_tried_before() -> None:
    names = set(RESOURCES["Function"]["Properties"]["Environment"]["Variables"])
    tried = runpy.run_path(str(ROOT / "scripts" / "artifact.py"))["PASSED_ON"]
    assert names <= set(tried)


def test_who_may_come_in_goes_to_the_function() -> None:
    parameters, variables = TEMPLATE["Parameters"], RESOURCES["Function"]["Properties"]["Environment"]["Variables"]
    for parameter, variable in {
        "AuthSecret": "AUTH_SECRET",
        "AuthJwksUrl": "AUTH_JWKS_URL",
        "AuthIssuer": "AUTH_ISSUER",
        "AuthAudience": "AUTH_AUDIENCE",
        "QuotaImages": "QUOTA_IMAGES",
        "QuotaBytes": "QUOTA_BYTES",
        "CorsAllowOrigins": "CORS_ALLOW_ORIGINS",
        "UrlSigningKeys": "URL_SIGNING_KEYS",
    }.items():
        assert variables[variable] == parameter
        assert parameters[parameter]["Default"] == ""
    assert TEMPLATE["Outputs"]["Access"]["Value"] == ["HasSecret", "token", ["HasProvider", "oidc", "open"]]


def test_no_secret_is_shown() -> None:
    secret = {variable.name for variable in VARIABLES if variable.secret}
    variables = RESOURCES["Function"]["Properties"]["Environment"]["Variables"]
    hidden = {name for name, parameter in TEMPLATE["Parameters"].items() if parameter.get("NoEcho")}
    assert hidden == {parameter for variable, parameter in variables.items() if variable in secret}
    assert [name for name in hidden if name in str(TEMPLATE["Outputs"])] == []


def test_pages_of_no_web_site_but_the_api_may_reach_the_bucket_unless_they_are_named() -> None:
    condition, cors, otherwise = RESOURCES["Bucket"]["Properties"]["CorsConfiguration"]
    assert TEMPLATE["Conditions"][condition] == [RESOURCES["Api"]["Condition"], "HasApiOrigin"]  # or
    assert otherwise == "AWS::NoValue"
    own, (condition, named, otherwise) = cors["CorsRules"]
    assert TEMPLATE["Conditions"][condition] == [["CorsAllowOrigins", ""]]  # not equal
    assert otherwise == "AWS::NoValue"
    assert named["AllowedOrigins"] == [",", "CorsAllowOrigins"]
    # Else the same, but not equal even if the only origin that is named is the API's: rules have to be unique.
    assert named == own | {"Id": named["Id"], "AllowedOrigins": named["AllowedOrigins"]}
    assert named["Id"] != own["Id"]
    assert own["AllowedMethods"] == ["GET", "HEAD", "POST"]


def test_the_origin_that_may_reach_the_bucket_is_where_the_api_is() -> None:
    own = RESOURCES["Bucket"]["Properties"]["CorsConfiguration"][1]["CorsRules"][0]
    ((condition, on_an_emulator, on_aws),) = own["AllowedOrigins"]
    assert condition == "HasApiOrigin"
    assert TEMPLATE["Conditions"][condition] == [["ApiOrigin", ""]]  # not equal
    assert TEMPLATE["Parameters"]["ApiOrigin"]["Default"] == ""
    assert on_an_emulator == "ApiOrigin"
    assert f"{on_aws}/${{StageName}}" == TEMPLATE["Outputs"]["ApiUrl"]["Value"]


def test_every_parameter_without_a_default_is_given() -> None:
    given = set(re.findall(r'"(\w+)=\$', DEPLOY))
    assert {name for name, parameter in TEMPLATE["Parameters"].items() if "Default" not in parameter} <= given
    (others,) = re.findall(r"=~ \^\(([\w|]+)\)=", DEPLOY)
    assert set(others.split("|")) == set(TEMPLATE["Parameters"]) - given


def test_the_role_may_only_do_what_it_names() -> None:
    """What is taken from these is missed: `tests/e2e/test_deploy.py` takes each of the stores' away."""
    (policy,) = RESOURCES["Role"]["Properties"]["Policies"]
    allowed = {
        resource: statement["Action"]
        for statement in policy["PolicyDocument"]["Statement"]
        for resource in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
    }
    bucket = "arn:${AWS::Partition}:s3:::${BucketName}"
    table = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${TableName}"
    assert allowed == {
        f"{bucket}/incoming/*": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        f"{bucket}/originals/*": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        f"{bucket}/renditions/*": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        bucket: "s3:ListBucket",
        table: ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query"],
        "FunctionLogs.Arn": ["logs:CreateLogStream", "logs:PutLogEvents"],
    }
