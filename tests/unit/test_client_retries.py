"""When a client sends a request again, and when not. Every answer is made up here."""

import datetime as dt
import io
import json
from collections.abc import Iterator
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from src import AsyncClient, Client, errors
from src.models.image import Image
from tests.support.clients import DATA, ID, IMAGE_V1, KINDS, RECORD, client_of, problem, without_pauses

pytestmark = pytest.mark.anyio

IMAGE = httpx.Response(200, json=RECORD)
BUSY = {"Retry-After": "7"}
SOON = {"Retry-After": "1"}

type Step = httpx.Response | Exception


class Script:
    """Answers one request after the other, each as the script says, and keeps them."""

    def __init__(self, *steps: Step) -> None:
        self._steps: Iterator[Step] = iter(steps)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = next(self._steps)
        if isinstance(step, Exception):
            raise step
        return httpx.Response(step.status_code, headers=step.headers, content=step.content)

    def keys(self) -> list[str | None]:
        return [request.headers.get("idempotency-key") for request in self.requests]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_pauses(monkeypatch)


PASSING: list[Step] = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("late"),
    httpx.ReadTimeout("late"),
    httpx.WriteError("broken pipe"),
    httpx.RemoteProtocolError("gone"),
    problem(429, "too_many_requests"),
    problem(502, "store_failed"),
    problem(503, "overloaded"),
    httpx.Response(504, text="<h1>Gateway Timeout</h1>"),
    problem(409, "request_in_progress"),
]


@pytest.mark.parametrize("step", PASSING, ids=repr)
async def test_what_passes_is_asked_again(kind: str, step: Step, pauses: list[float]) -> None:
    script = Script(step, step, httpx.Response(201, json=RECORD))
    image = await client_of(kind, script).upload(io.BytesIO(DATA), filename="cat.png")
    assert image.is_new
    assert len(pauses) == 2
    first, *others = script.keys()
    assert first is not None
    assert others == [first, first]  # so that it is stored once
    assert all(DATA in request.content for request in script.requests)  # from its beginning, each time


REFUSED = [
    (problem(400, "invalid_request"), errors.InvalidRequest),
    (problem(401, "token_missing"), errors.TokenMissing),
    (problem(403, "quota_exceeded"), errors.QuotaExceeded),
    (problem(404, "image_not_found"), errors.ImageNotFound),
    (problem(409, "upload_changed"), errors.UploadChanged),
    (problem(416, "range_not_satisfiable"), errors.RangeNotSatisfiable),
    (problem(422, "idempotency_key_reused"), errors.IdempotencyKeyReused),
    (problem(500, "internal_error"), errors.InternalError),
    (problem(418, "something_new"), errors.UnexpectedAnswer),
    (httpx.Response(404, text="<h1>nginx</h1>"), errors.UnexpectedAnswer),
    (httpx.Response(308, headers={"Location": "https://service/"}), errors.UnexpectedAnswer),
    (httpx.Response(200, text="<h1>Welcome</h1>"), errors.UnexpectedAnswer),
    (httpx.Response(200, json={"image_id": 1}), errors.UnexpectedAnswer),
]


@pytest.mark.parametrize(("answer", "cls"), REFUSED, ids=str)
async def test_what_is_refused_is_not(kind: str, answer: httpx.Response, cls: type[errors.ServiceError]) -> None:
    script = Script(answer)
    with pytest.raises(cls) as raised:
        await client_of(kind, script).upload(DATA)
    assert type(raised.value) is cls
    assert raised.value.status == answer.status_code
    assert raised.value.request_id == ("r1" if b"r1" in answer.content else None)
    assert len(script.requests) == 1


async def test_there_is_an_end(kind: str, pauses: list[float]) -> None:
    script = Script(*[httpx.ConnectError("refused")] * 4)
    with pytest.raises(errors.ServiceUnreachable, match="http://service does not answer: refused"):
        await client_of(kind, script, retries=3).get(ID)
    assert len(script.requests) == 4
    assert [low <= pause <= 2 * low for low, pause in zip((0.125, 0.25, 0.5), pauses, strict=True)] == [True] * 3
    with pytest.raises(errors.TooManyRequests) as raised:
        await client_of(kind, Script(problem(429, "too_many_requests", **BUSY)), retries=0).get(ID)
    assert raised.value.retry_after == 7


async def test_it_waits_as_long_as_it_is_told(kind: str, pauses: list[float]) -> None:
    later = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30), usegmt=True)
    script = Script(
        problem(429, "too_many_requests", **BUSY),
        problem(503, "overloaded", **{"Retry-After": later}),
        problem(503, "overloaded", **{"Retry-After": "soon"}),
        IMAGE,
    )
    await client_of(kind, script).update(ID, tags=[])
    assert pauses[0] == 7
    assert 25 < pauses[1] <= 30
    assert 0 < pauses[2] < 2


async def test_it_does_not_wait_for_hours(kind: str, pauses: list[float]) -> None:
    with pytest.raises(errors.TooManyRequests):
        await client_of(kind, Script(problem(429, "too_many_requests", **{"Retry-After": "3600"}))).get(ID)
    assert pauses == []


EARLY = [problem(429, "too_many_requests", **SOON), problem(429, "new", **SOON), problem(503, "overloaded", **SOON)]


@pytest.mark.parametrize("early", EARLY, ids=str)
async def test_what_is_only_early_fails_by_time(kind: str, early: httpx.Response, pauses: list[float]) -> None:
    await client_of(kind, Script(*[early] * 100, IMAGE), retries=1).update(ID, tags=[])
    assert pauses == [1] * 100
    script = Script(*[early] * 200)
    with pytest.raises(errors.ServiceError):
        await client_of(kind, script, retries=1).update(ID, tags=[])
    assert len(script.requests) == 121
    without_number = httpx.Response(429)
    with pytest.raises(errors.UnexpectedAnswer):
        await client_of(kind, Script(*[without_number] * 200)).update(ID, tags=[])
    assert 100 < sum(pauses) - 220 <= 120


async def test_what_one_is_told_holds_for_all(kind: str, pauses: list[float]) -> None:
    script = Script(*[problem(429, "too_many_requests", **{"Retry-After": "50"})] * 3, IMAGE)
    client = client_of(kind, script)
    with pytest.raises(errors.TooManyRequests):
        await client.update(ID, tags=[])
    assert pauses == [50, 50]
    await client.update(ID, tags=[])
    assert pauses == [50, 50, 50]
    assert len(script.requests) == 4


@pytest.mark.parametrize("first", [httpx.ReadTimeout("late"), problem(503, "outcome_unknown"), httpx.Response(504)])
async def test_a_delete_that_may_have_happened(kind: str, first: Step) -> None:
    await client_of(kind, Script(first, problem(404, "image_not_found"))).delete(ID)
    await client_of(kind, Script(first, problem(404, "upload_not_found"))).cancel_upload(ID)


@pytest.mark.parametrize("first", [httpx.ConnectError("refused"), problem(503, "store_unavailable")])
async def test_a_delete_that_did_not_happen(kind: str, first: Step) -> None:
    with pytest.raises(errors.ImageNotFound):
        await client_of(kind, Script(first, problem(404, "image_not_found"))).delete(ID)


def changed(**fields: Any) -> httpx.Response:
    return httpx.Response(200, json={**RECORD, "url": "u", "expires_at": "2026-11-22T13:52:30Z", **fields})


async def test_a_change_that_may_have_happened(kind: str) -> None:
    unsure, refused = httpx.ReadTimeout("late"), problem(412, "precondition_failed")
    script = Script(unsure, refused, changed(version=2, tags=["a"], filename=f"{ID}.png"))
    update = client_of(kind, script).update
    image = await update(ID, tags=["A "], filename=None, description=None, if_match=IMAGE_V1)
    assert (type(image), image.version) == (Image, 2)
    assert [request.headers.get("if-match") for request in script.requests] == [f'"{ID}.1"', f'"{ID}.1"', None]
    with pytest.raises(errors.PreconditionFailed):  # somebody else did
        await client_of(kind, Script(unsure, refused, changed(version=2, tags=["b"]))).update(
            ID, tags=["a"], if_match='"x"'
        )
    with pytest.raises(errors.PreconditionFailed):
        await client_of(kind, Script(httpx.ConnectError("refused"), refused)).update(ID, tags=["a"], if_match='"x"')


UNSURE: list[tuple[Step, type[errors.ServiceError]]] = [
    (httpx.ReadTimeout("late"), errors.ServiceUnreachable),
    (problem(503, "outcome_unknown"), errors.OutcomeUnknown),
    (httpx.Response(504), errors.UnexpectedAnswer),
]


@pytest.mark.parametrize("if_match", [None, "*"])
@pytest.mark.parametrize(("step", "cls"), UNSURE, ids=str)
async def test_what_others_change_meanwhile_is_not_overwritten(
    kind: str, step: Step, cls: type[errors.ServiceError], if_match: str | None
) -> None:
    with pytest.raises(cls):
        await client_of(kind, Script(step, IMAGE)).update(ID, tags=["a"], if_match=if_match)
    not_done = [httpx.ConnectError("refused"), problem(503, "store_unavailable"), problem(429, "too_many_requests")]
    await client_of(kind, Script(*not_done, IMAGE)).update(ID, tags=["a"], if_match=if_match)


UPLOAD = httpx.Response(
    201,
    json={
        "image_id": ID,
        "status": "waiting",
        "content_type": "image/png",
        "size": len(DATA),
        "upload": {"method": "POST", "url": "https://bucket.example/", "fields": {"key": "k", "policy": "p"}},
        "expires_at": "2026-11-22T13:52:30Z",
        "something": "new",
    },
)
SENT, DONE, GONE = httpx.Response(204), httpx.Response(201, json=RECORD), httpx.Response(204)


def moved(place: str) -> httpx.Response:
    return httpx.Response(307, headers={"Location": place})


async def test_storage_that_moves_breaks_and_is_busy(kind: str) -> None:
    script = Script(
        UPLOAD,
        moved("https://eu.bucket.example/"),
        httpx.Response(503, text="<Error><Code>SlowDown</Code></Error>"),
        httpx.Response(500),
        httpx.WriteError("broken pipe"),
        SENT,
        DONE,
    )
    image = await client_of(kind, script, token="secret").upload(DATA, direct=True)
    assert image.is_new
    forms = script.requests[1:6]
    assert [str(form.url) for form in forms] == ["https://bucket.example/"] + ["https://eu.bucket.example/"] * 4
    for form in forms:
        assert DATA in form.content
        assert form.content.index(b'name="policy"') < form.content.index(b'name="file"')
        assert not {"authorization", "idempotency-key"} & set(form.headers)
    assert [r.headers["authorization"] for r in (script.requests[0], script.requests[6])] == ["Bearer secret"] * 2
    declared = json.loads(script.requests[0].content)
    assert declared["sha256"] == RECORD["sha256"]
    assert declared["content_type"] == "image/png"


FAILING: list[tuple[list[Step], type[errors.ServiceError]]] = [
    ([httpx.Response(403, text="<Error/>")], errors.UnexpectedAnswer),
    ([httpx.ConnectError("refused")] * 2, errors.ServiceUnreachable),
    ([moved("http://bucket.example/")], errors.UnexpectedAnswer),
    ([httpx.Response(303, headers={"Location": "/done"})], errors.UnexpectedAnswer),
    ([moved("https://bucket.example/")] * 5, errors.ServiceUnreachable),
    ([SENT, problem(422, "undecodable_image")], errors.UndecodableImage),
]


@pytest.mark.parametrize(("steps", "cls"), FAILING, ids=str)
async def test_an_upload_that_fails_for_good_is_cancelled(
    kind: str, steps: list[Step], cls: type[errors.ServiceError]
) -> None:
    for last in (GONE, httpx.ConnectError("refused")):
        script = Script(UPLOAD, *steps, last)
        with pytest.raises(cls):
            await client_of(kind, script, retries=1).upload(DATA, direct=True)
        assert (script.requests[-1].method, script.requests[-1].url.path) == ("DELETE", f"/uploads/{ID}")


async def test_an_upload_that_may_be_repeated_is_kept(kind: str) -> None:
    """By whoever has its key; it goes on where the form has ended, too."""
    script = Script(UPLOAD, httpx.Response(403), UPLOAD, SENT, DONE)
    client = client_of(kind, script)
    with pytest.raises(errors.UnexpectedAnswer):
        await client.upload(DATA, direct=True, idempotency_key="mine")
    assert (await client.upload(DATA, direct=True, idempotency_key="mine")).is_new
    declared, _, again, _, completed = script.keys()
    assert declared == again == "mine"
    assert completed not in (None, "mine")
    without_form = httpx.Response(201, json={n: v for n, v in UPLOAD.json().items() if n != "upload"})
    script = Script(without_form, DONE)
    assert (await client_of(kind, script).upload(DATA, direct=True, idempotency_key="mine")).is_new
    assert script.keys()[1] == completed


async def test_an_image_is_restored_as_it_was(kind: str) -> None:
    script = Script(UPLOAD, SENT, DONE)
    await client_of(kind, script).restore(IMAGE_V1, DATA)
    declared = json.loads(script.requests[0].content)
    same = ("image_id", "version", "user_id", "filename", "tags", "description", "content_type", "size", "sha256")
    assert {name: declared[name] for name in same} == {name: RECORD[name] for name in same}
    assert declared["updated_at"] == "2026-11-22T00:00:00Z"
    with pytest.raises(ValueError, match="is not that of image"):
        await client_of(kind, Script()).restore(IMAGE_V1, DATA[:-1])


async def test_checksums_are_asked_for_by_fifties(kind: str) -> None:
    digests = [f"{number:064x}" for number in range(120)]

    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params.get_list("sha256")
        assert len(asked) <= 50
        assert request.url.params["user_id"] == "ann"
        found = [{"sha256": digest, "image_id": f"i{digest[-2:]}"} for digest in asked if digest.endswith("7")]
        return httpx.Response(200, json={"checksums": found, "count": len(found)})

    found = await client_of(kind, answer).checksums(digests, user_id="ann")
    assert len(found) == 8
    assert found[digests[7]] == "i07"


async def test_checksums_are_answered_as_they_were_given(kind: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params.get_list("sha256")
        assert asked == ["a7" * 32, "b7" * 32]
        return httpx.Response(200, json={"checksums": [{"sha256": asked[0], "image_id": "i"}], "count": 1})

    found = await client_of(kind, answer).checksums(["A7" * 32, "a7" * 32, "B7" * 32])
    assert found == {"A7" * 32: "i", "a7" * 32: "i"}


async def test_deletions_before_a_failure_are_told(kind: str) -> None:
    ids = [f"i{number}" for number in range(150)]
    hundred = {"results": [{"image_id": id_, "status": "deleted"} for id_ in ids[:100]], "deleted": 100}
    script = Script(httpx.Response(200, json=hundred), problem(403, "insufficient_scope"))
    deletions = client_of(kind, script).delete_all(ids)
    assert [(await anext(deletions)).image_id for _ in range(100)] == ids[:100]
    with pytest.raises(errors.InsufficientScope):
        await anext(deletions)
    assert [len(json.loads(request.content)["image_ids"]) for request in script.requests] == [100, 50]


def linked(**fields: Any) -> httpx.Response:
    return changed(url="https://bucket.example/k?signature=s", **fields)


def part(start: int, etag: str = '"e"') -> httpx.Response:
    content_range = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
    return httpx.Response(206, content=DATA[start:], headers={"ETag": etag, "Content-Range": content_range})


class Breaking(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        raise httpx.ReadError("broken")

    async def __aiter__(self) -> Any:
        yield self._data
        raise httpx.ReadError("broken")


class Broken(Script):
    """The second request, which is the download's first, gets the first bytes only."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if len(self.requests) == 1:
            self.requests.append(request)
            return httpx.Response(200, headers={"ETag": '"e"'}, stream=Breaking(DATA[:100]))
        return super().__call__(request)


@pytest.mark.parametrize("rest", [part(100), httpx.Response(200, content=DATA, headers={"ETag": '"e"'})], ids=str)
async def test_a_download_goes_on_where_it_broke_off(kind: str, rest: httpx.Response) -> None:
    script = Broken(linked(), httpx.Response(503), rest)
    buffer = io.BytesIO()
    await client_of(kind, script, token="secret").download(ID, buffer)
    assert buffer.getvalue() == DATA
    last = script.requests[-1].headers
    assert (last["range"], last["if-range"], "authorization" in last) == ("bytes=100-", '"e"', False)


@pytest.mark.parametrize(
    "rest", [part(50), part(100, '"other"'), httpx.Response(200, content=DATA, headers={"ETag": '"other"'})], ids=str
)
async def test_parts_of_different_files_are_not_put_together(kind: str, rest: httpx.Response, tmp_path: Path) -> None:
    with pytest.raises(errors.UnexpectedAnswer):
        await client_of(kind, Broken(linked(), rest)).download(ID, tmp_path / "a", width=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [DATA[:-1], DATA + b"x", DATA[:-1] + b"x", b""])
async def test_an_original_is_verified(kind: str, wrong: bytes, tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_text("old")
    for get in (
        partial(client_of(kind, Script(linked(), httpx.Response(200, content=wrong))).content, ID),
        partial(client_of(kind, Script(linked(), httpx.Response(200, content=wrong))).download, ID, target),
    ):
        with pytest.raises(errors.UnexpectedAnswer, match="are not its bytes"):
            await get()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


async def test_links_that_lead_on_are_followed(kind: str) -> None:
    script = Script(linked(), httpx.Response(302, headers={"Location": "/there"}), httpx.Response(200, content=DATA))
    assert await client_of(kind, script, token="secret").content(ID) == DATA
    assert str(script.requests[-1].url) == "https://bucket.example/there"
    assert "authorization" not in script.requests[-1].headers


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": ""}, "url: wants"),
        ({"url": "service:8000"}, "url: wants"),
        ({"url": "ftp://service"}, "url: wants"),
        ({"url": "http://"}, "url: wants"),
        ({"url": "http://service:port"}, "url: "),
        ({"url": "http://ann:secret@service"}, "url: wants neither"),
        ({"url": "http://service/?a=b"}, "url: wants neither"),
        ({"url": "ftp://ann:secret@service"}, "url: wants neither"),
        ({"url": "http://ann:secret/more@service"}, "url: wants"),
        ({"url": "ann:secret@service"}, "url: wants"),
        ({"url": "service/?signature=secret"}, "url: wants"),
        ({"token": "secret\nX-Other: a"}, "token: wants"),
        ({"token": ""}, "token: wants"),
        ({"timeout": 0}, "timeout: wants"),
        ({"retries": -1}, "retries: wants"),
    ],
)
def test_what_can_not_be_used_is_said_at_once(options: dict[str, Any], words: str) -> None:
    for make in (Client, AsyncClient):
        with pytest.raises(ValueError, match=words) as raised:
            make(**options)
        assert "secret" not in str(raised.value)


async def test_arguments_that_can_not_be_meant(kind: str, tmp_path: Path) -> None:
    client = client_of(kind, Script())
    with pytest.raises(FileNotFoundError):
        await client.upload(tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="open in binary mode"):
        await client.upload(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wants a path, bytes or an open file"):
        await client.upload(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tags: wants a list of texts"):
        await client.upload(DATA, tags="cat")
    with pytest.raises(ValueError, match="tags: wants a list of texts"):
        await client.update(ID, tags="cat")
    with pytest.raises(ValueError, match="created_after: wants a time with a time zone"):
        await client.page(created_after=dt.datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="Idempotency-Key: wants visible"):
        await client.upload(DATA, idempotency_key="a b")
    for image_id in ("", "..", "."):
        with pytest.raises(ValueError, match="image_id: wants"):
            await client.delete(image_id)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://ann:secret@there/k?signature=secret#secret", "leads to https://there/k."),
        ("/k?signature=secret", "leads to http://service/k."),
    ],
)
async def test_where_an_answer_leads_is_told_without_secrets(kind: str, location: str, shown: str) -> None:
    with pytest.raises(errors.UnexpectedAnswer, match=shown) as raised:
        await client_of(kind, Script(httpx.Response(302, headers={"Location": location}))).usage()
    assert "secret" not in str(raised.value)


async def test_an_id_leads_nowhere_else(kind: str) -> None:
    script = Script(httpx.Response(204))
    await client_of(kind, script).delete("../usage?a=b#c")
    assert script.requests[0].url.raw_path == b"/images/..%2Fusage%3Fa%3Db%23c"


def test_what_is_not_given_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_SERVICE_URL", "http://there/dev/")
    monkeypatch.setenv("IMAGE_SERVICE_TOKEN", "secret")
    script = Script(IMAGE)
    with Client(transport=httpx.MockTransport(script)) as client:
        client.update(ID, tags=["a"])
    (request,) = script.requests
    assert str(request.url) == f"http://there/dev/images/{ID}"
    assert request.headers["authorization"] == "Bearer secret"
    monkeypatch.setenv("IMAGE_SERVICE_URL", "")
    monkeypatch.setenv("IMAGE_SERVICE_TOKEN", "")
    script = Script(IMAGE)
    with Client(transport=httpx.MockTransport(script)) as client:
        client.update(ID, tags=["a"])
    (request,) = script.requests
    assert str(request.url) == f"http://127.0.0.1:8000/images/{ID}"
    assert "authorization" not in request.headers
