"""`GET /openapi.json`: a valid OpenAPI 3.1 document of the routes as they are, which real answers match."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import jsonschema
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette

from src import VERSION
from src.bootstrap import build_services
from src.common.config import Settings
from src.common.errors import FieldError
from src.handlers.app import ROUTES, create_app
from src.handlers.fields import DeleteFields, JsonUpload, MultipartUpload, NewUploadFields, PatchFields, UploadFields
from src.handlers.queries import (
    ChecksumParameters,
    ContentParameters,
    ImageParameters,
    ListParameters,
    TagParameters,
    UsageParameters,
)
from src.models.image import FORMATS
from src.models.link import Form
from src.services.link_service import utc_now
from tests.support.api import raw, uploaded
from tests.support.forms import post
from tests.support.pictures import picture, png_bomb
from tests.support.tokens import AUTH, bearer, token

pytestmark = pytest.mark.anyio

# Nobody calls these by hand: links lead to the one, browsers to the others.
UNDESCRIBED = {"/objects/{key:path}", "/openapi.json", "/docs", "/docs/{name}", "/", "/gallery/{version}/{name}"}
OPERATIONS = {
    ("get", "/images"),
    ("post", "/images"),
    ("get", "/images/{image_id}"),
    ("get", "/images/{image_id}/content"),
    ("patch", "/images/{image_id}"),
    ("delete", "/images/{image_id}"),
    ("post", "/images/delete"),
    ("post", "/uploads"),
    ("get", "/uploads/{image_id}"),
    ("delete", "/uploads/{image_id}"),
    ("post", "/uploads/{image_id}/complete"),
    ("get", "/tags"),
    ("get", "/usage"),
    ("get", "/checksums"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/limits"),
}
# What an operation may answer, also when a store fails. With tokens 401 too, where a scope is asked for.
STATUSES = {
    ("get", "/images"): {200, 400, 403, 429, 431, 502, 503},
    ("post", "/images"): {200, 201, 400, 403, 408, 409, 413, 415, 422, 429, 431, 502, 503},
    ("get", "/images/{image_id}"): {200, 304, 400, 403, 404, 429, 431, 502, 503},
    ("get", "/images/{image_id}/content"): {302, 400, 403, 404, 429, 431, 502, 503},
    ("patch", "/images/{image_id}"): {200, 400, 403, 404, 408, 412, 413, 415, 429, 431, 502, 503},
    ("delete", "/images/{image_id}"): {204, 400, 403, 404, 429, 431, 502, 503},
    ("post", "/images/delete"): {200, 400, 403, 408, 409, 413, 415, 422, 429, 431, 502, 503},
    ("post", "/uploads"): {201, 400, 403, 408, 409, 413, 415, 422, 429, 431, 502, 503},
    ("get", "/uploads/{image_id}"): {200, 400, 403, 404, 429, 431, 502, 503},
    ("delete", "/uploads/{image_id}"): {204, 400, 403, 404, 409, 429, 431, 502, 503},
    ("post", "/uploads/{image_id}/complete"): {200, 201, 400, 403, 404, 409, 413, 415, 422, 429, 431, 502, 503},
    ("get", "/tags"): {200, 400, 403, 429, 431, 502, 503},
    ("get", "/usage"): {200, 400, 403, 429, 431, 502, 503},
    ("get", "/checksums"): {200, 400, 403, 429, 431, 502, 503},
    ("get", "/readyz"): {200, 400, 431, 502, 503},
    ("get", "/healthz"): {200, 400, 431},
    ("get", "/limits"): {200, 400, 431},
}


# Which scope an operation takes, where anybody is asked for one.
SCOPES = {
    **dict.fromkeys(
        [
            ("get", "/images"),
            ("get", "/images/{image_id}"),
            ("get", "/images/{image_id}/content"),
            ("get", "/uploads/{image_id}"),
            ("get", "/tags"),
            ("get", "/usage"),
            ("get", "/checksums"),
        ],
        "images:read",
    ),
    **dict.fromkeys(
        [
            ("post", "/images"),
            ("patch", "/images/{image_id}"),
            ("delete", "/images/{image_id}"),
            ("post", "/images/delete"),
            ("post", "/uploads"),
            ("delete", "/uploads/{image_id}"),
            ("post", "/uploads/{image_id}/complete"),
        ],
        "images:write",
    ),
}


async def document_of(settings: Mapping[str, str]) -> dict[str, Any]:
    services = build_services(Settings.from_environment(settings))
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        answer = await client.get("/openapi.json")
    await services.close()
    assert answer.headers["content-type"] == "application/json"
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture(scope="module")
async def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return await document_of({"DATA_DIR": str(tmp_path_factory.mktemp("open"))})


@pytest.fixture(scope="module")
async def document_with_tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return await document_of({"DATA_DIR": str(tmp_path_factory.mktemp("tokens")), **AUTH})


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token, of an application that asks for one."""
    services = build_services(Settings.from_environment({"DATA_DIR": str(tmp_path / "guarded"), **AUTH}))
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client
    await services.close()


def operation(document: Mapping[str, Any], method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path][method]
    return found


def resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def properties(document: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return all properties that an object may have."""
    schema = resolved(document, schema)
    found = dict(schema.get("properties", {}))
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        found |= properties(document, part)
    return found


def check(document: Mapping[str, Any], schema: Mapping[str, Any], body: Any) -> None:
    """Check a body against a schema of the document, formats too, and that it says nothing that is not described."""
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(body)
    assert set(body) <= set(properties(document, schema))


def check_headers(described: Mapping[str, Any], answer: httpx.Response) -> None:
    for name, header in described["headers"].items():
        assert header["description"]
        assert name in answer.headers or not header["required"]
        if name in answer.headers:
            value = int(answer.headers[name]) if header["schema"]["type"] == "integer" else answer.headers[name]
            jsonschema.Draft202012Validator(header["schema"]).validate(value)


def check_answer(document: Mapping[str, Any], answer: httpx.Response, method: str, path: str) -> None:
    described = operation(document, method, path)["responses"][str(answer.status_code)]
    check_headers(described, answer)
    if not answer.content:
        assert not described.get("content")
        return
    check(document, described["content"][answer.headers["content-type"]]["schema"], answer.json())


async def test_it_is_valid(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == VERSION
    assert document["servers"] == [{"url": "/"}]


@pytest.mark.parametrize("environment", [{}, AUTH], ids=["open", "tokens"])
async def test_it_is_the_same_in_both_homes(environment: dict[str, str], tmp_path: Path) -> None:
    """What it says depends on whether tokens are asked for, and on no store: here nothing answers."""
    nowhere = {
        "STORAGE": "aws",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    homes = ({"DATA_DIR": str(tmp_path / "data")}, nowhere)
    documents = [await document_of({**home, **environment}) for home in homes]
    OpenAPIV31SpecValidator(documents[0]).validate()
    assert documents[0] == documents[1]
    assert ("securitySchemes" in documents[0]["components"]) == bool(environment)


async def test_every_route_is_in_it(document: dict[str, Any]) -> None:
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    existing = {
        (method.lower(), route.path) for route in ROUTES for method in (route.methods or ()) if method != "HEAD"
    }
    assert described == OPERATIONS == {(method, path) for method, path in existing if path not in UNDESCRIBED}


async def test_another_application_in_the_process_has_it_too(document: dict[str, Any], tmp_path: Path) -> None:
    """As when tests, or a program that embeds the service, make several."""
    services = build_services(Settings.from_environment({"DATA_DIR": str(tmp_path / "other")}))
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        for _ in range(2):
            assert (await client.get("/openapi.json")).json() == document
    await services.close()


async def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    operations = [operation(document, *entry) for entry in OPERATIONS]
    assert all(entry["summary"] for entry in operations)
    assert len({entry["operationId"] for entry in operations}) == len(operations)
    assert all(name.isalnum() for name in document["components"]["schemas"])


async def test_every_schema_is_used(document: dict[str, Any]) -> None:
    """Clients that are made from it get a class for each."""
    used = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(document["components"]["schemas"]) == set(used)


@pytest.mark.parametrize(
    ("method", "path", "model"),
    [
        ("get", "/images", ListParameters),
        ("get", "/images/{image_id}", ImageParameters),
        ("get", "/images/{image_id}/content", ContentParameters),
        ("post", "/images", UploadFields),
        ("get", "/tags", TagParameters),
        ("get", "/usage", UsageParameters),
        ("get", "/checksums", ChecksumParameters),
    ],
)
async def test_every_parameter_is_in_it(document: dict[str, Any], method: str, path: str, model: type) -> None:
    parameters = operation(document, method, path)["parameters"]
    query = {parameter["name"]: parameter for parameter in parameters if parameter["in"] == "query"}
    assert set(query) == set(get_type_hints(model))
    required = {name for name, parameter in query.items() if parameter.get("required")}
    assert required == {field.name for field in msgspec.structs.fields(model) if field.required}
    assert all(parameter["description"] for parameter in query.values())
    in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert in_path == ({"image_id"} if "{" in path else set())


async def test_the_bounds_of_parameters_are_in_it(document: dict[str, Any]) -> None:
    def schemas(path: str) -> dict[str, Any]:
        return {parameter["name"]: parameter["schema"] for parameter in operation(document, "get", path)["parameters"]}

    limit = schemas("/images")["limit"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 100, 20)
    assert schemas("/images")["order"]["enum"] == ["newest", "oldest"]
    assert schemas("/images")["tag_mode"]["enum"] == ["all", "any"]
    expires_in = schemas("/images/{image_id}")["expires_in"]
    assert (expires_in["minimum"], expires_in["maximum"]) == (1, 604_800)


async def test_no_parameter_can_be_null(document: dict[str, Any]) -> None:
    """It is given or not: a query and a header have no word for null."""
    for entry in OPERATIONS:
        for parameter in operation(document, *entry).get("parameters", ()):
            assert "null" not in json.dumps(parameter["schema"])


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        *[(method, path, "Idempotency-Key") for method, path in sorted(OPERATIONS) if method == "post"],
        ("get", "/images/{image_id}", "If-None-Match"),
        ("patch", "/images/{image_id}", "If-Match"),
    ],
)
async def test_headers_are_in_it(document: dict[str, Any], method: str, path: str, header: str) -> None:
    (parameter,) = [p for p in operation(document, method, path)["parameters"] if p["in"] == "header"]
    assert (parameter["name"], parameter["required"]) == (header, False)
    assert parameter["description"]
    assert parameter["schema"]["type"] == "string"


@pytest.mark.parametrize(
    ("method", "path", "model", "required"),
    [
        ("patch", "/images/{image_id}", PatchFields, []),
        ("post", "/images/delete", DeleteFields, ["image_ids"]),
        ("post", "/uploads", NewUploadFields, ["content_type", "size"]),
    ],
)
async def test_every_json_body_is_in_it(
    document: dict[str, Any], method: str, path: str, model: type, required: list[str]
) -> None:
    body = operation(document, method, path)["requestBody"]
    assert body["required"]
    media_types = {"application/json", *(["application/merge-patch+json"] if method == "patch" else [])}
    assert set(body["content"]) == media_types
    for media_type in media_types:
        schema = resolved(document, body["content"][media_type]["schema"])
        assert set(schema["properties"]) == set(get_type_hints(model))
        assert all(member["description"] for member in schema["properties"].values())
        assert schema["required"] == required
        assert schema["additionalProperties"] is False


async def test_a_merge_patch_has_no_defaults(document: dict[str, Any]) -> None:
    """Null clears a member, so no client may send it for one that its caller does not name."""
    members = document["components"]["schemas"]["PatchFields"]["properties"].values()
    assert all({"type": "null"} in member["anyOf"] for member in members)
    assert not any("default" in member for member in members)


async def test_every_body_of_an_upload_is_in_it(document: dict[str, Any]) -> None:
    content = operation(document, "post", "/images")["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json", *(format_.content_type for format_ in FORMATS)}
    for media_type, model, required in (
        ("multipart/form-data", MultipartUpload, ["file"]),
        ("application/json", JsonUpload, ["image_data"]),
    ):
        schema = resolved(document, content[media_type]["schema"])
        assert set(schema["properties"]) == set(get_type_hints(model))
        assert schema["required"] == required
    for format_ in FORMATS:
        assert content[format_.content_type]["schema"] == {"type": "string", "format": "binary"}


async def test_what_the_body_of_an_upload_may_say_has_no_default_in_the_query(document: dict[str, Any]) -> None:
    """A client that is made from the document would send it, and be refused when the body says something else."""
    assert not any("default" in entry["schema"] for entry in operation(document, "post", "/images")["parameters"])


@pytest.mark.parametrize("entry", STATUSES, ids=" ".join)
async def test_every_status_is_in_it(document: dict[str, Any], entry: tuple[str, str]) -> None:
    """Those of a store that fails too: clients are made from this."""
    responses = operation(document, *entry)["responses"]
    assert {int(status) for status in responses} == STATUSES[entry]
    for status, response in responses.items():
        assert response["description"]
        if int(status) >= 400:
            (media_type,) = response["content"]
            assert media_type == "application/problem+json"


async def test_nobody_is_asked_for_a_token_in_open_mode(document: dict[str, Any]) -> None:
    assert "securitySchemes" not in document["components"]
    for entry in OPERATIONS:
        assert "security" not in operation(document, *entry)
        assert "401" not in operation(document, *entry)["responses"]


async def test_tokens_are_in_it_where_they_are_asked_for(document_with_tokens: dict[str, Any]) -> None:
    document = document_with_tokens
    OpenAPIV31SpecValidator(document).validate()
    ((name, scheme),) = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert OPERATIONS - set(SCOPES) == {("get", "/healthz"), ("get", "/readyz"), ("get", "/limits")}
    for entry in OPERATIONS:
        described = operation(document, *entry)
        statuses = {int(status) for status in described["responses"]}
        if entry not in SCOPES:
            assert "security" not in described
            assert statuses == STATUSES[entry]
            continue
        # A signed link will do instead.
        others = [{}] if entry == ("get", "/images/{image_id}/content") else []
        assert described["security"] == [{name: [SCOPES[entry]]}, *others]
        assert statuses == STATUSES[entry] | {401}


@pytest.mark.parametrize("entry", SCOPES, ids=" ".join)
async def test_real_refusals_of_tokens_match(
    guarded: httpx.AsyncClient, document_with_tokens: dict[str, Any], entry: tuple[str, str]
) -> None:
    method, path = entry
    read_only = bearer(token("ann", "images:read"))
    nothing = bearer(token("ann", "profile"))
    for headers, status in (({}, 401), (bearer("x"), 401), (nothing, 403), (read_only, 403)):
        if headers == read_only and SCOPES[entry] == "images:read":
            continue
        answer = await guarded.request(method, path.format(image_id="x"), headers=headers)
        assert answer.status_code == status
        check_answer(document_with_tokens, answer, method, path)
        assert "WWW-Authenticate" in answer.headers


async def test_real_answers_match(document: dict[str, Any], client: httpx.AsyncClient) -> None:
    """Of every operation, whole and refused."""
    data = picture("gif")
    image = await uploaded(client, data, tags="a,b", filename="a.gif", user_id="ann")
    path = f"/images/{image['image_id']}"
    etag = (await client.get(path)).headers["etag"]
    answers = [
        ("post", "/images", await client.post("/images", files={"file": ("a", data)}, data={"user_id": "bob"})),
        (
            "post",
            "/images",
            await client.post("/images", params={"user_id": "ann", "on_duplicate": "return"}, **raw(data)),
        ),
        ("post", "/images", await client.post("/images", params={"width": "x", "color": "y"}, **raw(data))),
        ("post", "/images", await client.post("/images", **raw(bytes(11_000_000)))),
        ("post", "/images", await client.post("/images", **raw(b"text"))),
        ("post", "/images", await client.post("/images", **raw(data, "text/plain"))),
        ("post", "/images", await client.post("/images", **raw(png_bomb(9_000, 9_000)))),
        ("get", "/images", await client.get("/images", params={"limit": 1})),
        ("get", "/images", await client.get("/images", params={"user_id": "nobody"})),
        ("get", "/images", await client.get("/images", params={"limit": "x"})),
        ("get", "/tags", await client.get("/tags", params={"limit": 1})),
        ("get", "/tags", await client.get("/tags", params={"prefix": "a,b"})),
        ("get", "/usage", await client.get("/usage")),
        ("get", "/checksums", await client.get("/checksums", params={"sha256": "0" * 64})),
        ("get", "/checksums", await client.get("/checksums")),
        ("get", "/images/{image_id}", await client.get(path)),
        ("get", "/images/{image_id}", await client.get(path, headers={"If-None-Match": etag})),
        ("get", "/images/{image_id}", await client.get(path, params={"expires_in": "x"})),
        ("get", "/images/{image_id}", await client.get("/images/x")),
        ("get", "/images/{image_id}/content", await client.get(f"{path}/content", params={"width": 9})),
        ("get", "/images/{image_id}/content", await client.get(f"{path}/content", params={"width": "x"})),
        ("get", "/images/{image_id}/content", await client.get(f"{path}/content", params={"signature": "x"})),
        ("get", "/images/{image_id}/content", await client.get("/images/x/content")),
        ("get", "/healthz", await client.get("/healthz")),
        ("get", "/readyz", await client.get("/readyz")),
        ("get", "/limits", await client.get("/limits")),
        ("delete", "/images/{image_id}", await client.delete(path)),
        ("delete", "/images/{image_id}", await client.delete(path)),
    ]
    assert [answer.status_code for _, _, answer in answers] == [
        *[201, 200, 400, 413, 415, 415, 422],
        *[200, 200, 400, 200, 400, 200, 200, 400, 200, 304, 400, 404],
        *[302, 400, 403, 404],
        *[200, 200, 200, 204, 404],
    ]
    for method, route, answer in answers:
        check_answer(document, answer, method, route)


async def test_real_answers_about_changes_match(document: dict[str, Any], client: httpx.AsyncClient) -> None:
    image = await uploaded(client, tags="a")
    path, route = f"/images/{image['image_id']}", "/images/{image_id}"
    etag = (await client.get(path)).headers["etag"]
    too_large = raw(bytes(100_000), "application/json")
    answers = [
        ("patch", route, await client.patch(path, json={"tags": None, "filename": "b.gif"})),
        ("patch", route, await client.patch(path, json={"tags": 1, "color": "red"})),
        ("patch", route, await client.patch("/images/x", json={})),
        ("patch", route, await client.patch(path, json={}, headers={"If-Match": etag})),
        ("patch", route, await client.patch(path, **too_large)),
        ("patch", route, await client.patch(path, **raw(b"{}", "text/plain"))),
        ("post", "/images/delete", await client.post("/images/delete", json={"image_ids": [image["image_id"], "x"]})),
        ("post", "/images/delete", await client.post("/images/delete", json={"image_ids": []})),
        ("post", "/images/delete", await client.post("/images/delete", **too_large)),
        ("post", "/images/delete", await client.post("/images/delete", **raw(b"{}", "text/plain"))),
    ]
    statuses = [answer.status_code for _, _, answer in answers]
    assert statuses == [200, 400, 404, 412, 413, 415, 200, 400, 413, 415]
    for method, path, answer in answers:
        check_answer(document, answer, method, path)


async def test_real_answers_about_direct_uploads_match(
    document: dict[str, Any], app: Starlette, client: httpx.AsyncClient
) -> None:
    data = picture("png")
    declared = {"content_type": "image/png", "size": len(data), "filename": "a.png", "tags": ["a"]}
    check(
        document,
        operation(document, "post", "/uploads")["requestBody"]["content"]["application/json"]["schema"],
        declared,
    )
    key = {"Idempotency-Key": "a-key"}
    route, completion = "/uploads/{image_id}", "/uploads/{image_id}/complete"
    answers = [("post", "/uploads", await client.post("/uploads", json=declared, headers=key))]
    path = answers[0][2].headers["location"]
    answers += [
        ("post", "/uploads", await client.post("/uploads", json=declared | {"size": 1}, headers=key)),
        ("post", "/uploads", await client.post("/uploads", json=declared | {"size": 2**30})),
        ("post", "/uploads", await client.post("/uploads", json={"sha256": "x"})),
        ("get", route, await client.get(path)),
        ("get", route, await client.get("/uploads/x")),
        ("post", completion, await client.post(f"{path}/complete")),
        ("post", completion, await client.post("/uploads/x/complete")),
        ("delete", route, await client.delete("/uploads/x")),
    ]
    upload = answers[0][2].json()["upload"]
    for content in (bytes(len(data)), data):
        assert (await post(client, Form(upload["url"], upload["fields"], utc_now()), content)).status_code == 204
        answers += [
            ("get", route, await client.get(path)),
            ("post", completion, await client.post(f"{path}/complete")),
        ]
    answers += [
        ("get", route, await client.get(path)),
        ("post", completion, await client.post(f"{path}/complete")),
        ("delete", route, await client.delete(path)),
    ]
    statuses = [answer.status_code for _, _, answer in answers]
    assert statuses == [201, 422, 413, 400, 200, 404, 409, 404, 404, 200, 415, 200, 201, 200, 200, 409]
    for method, path, answer in answers:
        check_answer(document, answer, method, path)


async def test_a_list_with_links_matches(document: dict[str, Any], client: httpx.AsyncClient) -> None:
    """`include=urls` adds to the images what the document says it does."""
    await uploaded(client)
    body = (await client.get("/images", params={"include": "urls"})).json()
    schema = operation(document, "get", "/images")["responses"]["200"]["content"]["application/json"]["schema"]
    check(document, schema, body)
    assert set(body["images"][0]) <= set(properties(document, properties(document, schema)["images"]["items"]))


async def test_times_are_described_as_times(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["LinkedImage"]["properties"]
    assert {name for name in properties if name.endswith("_at")} == {"created_at", "updated_at", "expires_at"}
    assert all(schema["format"] == "date-time" for name, schema in properties.items() if name.endswith("_at"))


async def test_real_requests_match(document: dict[str, Any]) -> None:
    """What the README sends is what the document describes."""
    content = operation(document, "post", "/images")["requestBody"]["content"]
    check(document, content["application/json"]["schema"], {"image_data": "R0lG", "tags": ["a", "b"], "width": 1})
    with pytest.raises(jsonschema.ValidationError):
        check(document, content["application/json"]["schema"], {"tags": ["a"]})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/images", {"image_data": "R0lG", "tags": "a,b", "description": None, "on_duplicate": None, "width": None}),
        ("/uploads", {"content_type": "image/png", "size": 1.0, "tags": None, "filename": None, "sha256": None}),
    ],
)
async def test_null_and_tags_as_one_text_are_in_it(
    document: dict[str, Any], client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    content = operation(document, "post", path)["requestBody"]["content"]
    check(document, content["application/json"]["schema"], body)
    answer = await client.post(path, json=body)
    assert answer.status_code in (201, 415)  # this is no picture
    form = operation(document, "post", "/images")["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert "null" not in json.dumps(resolved(document, form))


async def test_problems_are_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["Problem"]["properties"]) == {
        "type",
        "title",
        "status",
        "detail",
        "code",
        "request_id",
        "errors",
    }
    assert set(schemas["FieldError"]["properties"]) == set(FieldError.__struct_fields__)
