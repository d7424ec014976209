"""`/objects/...`: a signed link's bytes, whole and in ranges, and every link that is not to be followed."""

import datetime as dt
import email.utils
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.repositories.ports import ObjectInfo, ObjectStore
from src.services.link_service import LinkService
from tests.support.api import assert_problem, uploaded
from tests.support.pictures import noise, picture

pytestmark = pytest.mark.anyio

DATA = picture("png")
SIZE = len(DATA)


async def link_of(client: httpx.AsyncClient, data: bytes = DATA, **params: Any) -> str:
    image = await uploaded(client, data, filename="a walk.png")
    url: str = (await client.get(f"/images/{image['image_id']}", params=params)).json()["url"]
    return url


def shift_clock(app: Starlette, monkeypatch: pytest.MonkeyPatch, **by: int) -> None:
    links: LinkService = app.state.services.links
    monkeypatch.setattr(links, "_now", lambda: dt.datetime.now(dt.UTC) + dt.timedelta(**by))


async def test_the_headers_of_an_object(client: httpx.AsyncClient) -> None:
    served = await client.get(await link_of(client))
    assert (served.status_code, served.content) == (200, DATA)
    assert served.headers["content-type"] == "image/png"
    assert served.headers["content-length"] == str(SIZE)
    assert served.headers["content-disposition"] == 'inline; filename="a walk.png"'
    assert served.headers["accept-ranges"] == "bytes"
    assert served.headers["x-content-type-options"] == "nosniff"
    # The link is a secret, what it leads to never changes, and a cache must not outlive it.
    private, age, immutable = served.headers["cache-control"].split(", ")
    assert (private, immutable) == ("private", "immutable")
    assert 3_500 < int(age.removeprefix("max-age=")) <= 3_600
    etag = served.headers["etag"]
    assert len(etag) > 2
    assert (etag[0], etag[-1]) == ('"', '"')
    modified = email.utils.parsedate_to_datetime(served.headers["last-modified"])
    assert abs(dt.datetime.now(dt.UTC) - modified) < dt.timedelta(minutes=1)


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": '"other"'}, {"If-None-Match": "*"}])
async def test_head_tells_what_get_would(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    url = await link_of(client)
    got, head = await client.get(url, headers=headers), await client.head(url, headers=headers)
    assert (head.status_code, head.content) == (got.status_code, b"")
    ignored = {"x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in got.headers.items() if k not in ignored
    }


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=10-19", 10, 20),
        ("bytes=100-", 100, SIZE),
        ("bytes=0-", 0, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-20", SIZE - 20, SIZE),
        (f"bytes=-{SIZE}", 0, SIZE),
        ("bytes=-999999999", 0, SIZE),  # a suffix longer than the object is all of it
        ("bytes=10-999999999", 10, SIZE),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
    ],
)
async def test_a_range(client: httpx.AsyncClient, value: str, start: int, end: int) -> None:
    served = await client.get(await link_of(client), headers={"Range": value})
    assert (served.status_code, served.content) == (206, DATA[start:end])
    assert served.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert served.headers["content-length"] == str(end - start)
    assert served.headers["content-type"] == "image/png"
    assert "etag" in served.headers


@pytest.mark.parametrize("value", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE}", "bytes=999999999-", "bytes=-0"])
async def test_a_range_outside_the_object(client: httpx.AsyncClient, value: str) -> None:
    answer = await client.get(await link_of(client), headers={"Range": value})
    assert_problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=0-1,3-4",
        "bytes=0-1,",
        "bytes= 0-1",
        "bytes=0x0-1",
        "bytes=--1",
        "bytes=1.5-2",
        "bytes=+1-2",
        "bytes=0-1-2",
        f"bytes=0-{'9' * 5_000}",
        "items=0-1",
        "0-1",
    ],
    ids=lambda value: value[:20],
)
async def test_a_range_that_is_not_read(client: httpx.AsyncClient, value: str) -> None:
    """Several at once, other units and nonsense are ignored (RFC 9110, 14.2), as S3 does."""
    served = await client.get(await link_of(client), headers={"Range": value})
    assert (served.status_code, served.content) == (200, DATA)
    assert "content-range" not in served.headers


async def test_if_range(client: httpx.AsyncClient) -> None:
    """A resumed download continues only what it began; a weak tag or a date does not vouch for that."""
    url = await link_of(client)
    etag = (await client.head(url)).headers["etag"]
    for value, status in ((etag, 206), ('"other"', 200), (f"W/{etag}", 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)):
        served = await client.get(url, headers={"Range": "bytes=1-3", "If-Range": value})
        assert served.status_code == status
        assert served.content == (DATA[1:4] if status == 206 else DATA)


async def test_ranges_of_something_large(client: httpx.AsyncClient) -> None:
    """More than is read or sent at a time."""
    data = noise(900, 900)
    url = await link_of(client, data)
    assert (await client.get(url)).content == data
    for start, end in ((0, len(data)), (300_000, 1_700_000), (1_000_000, 1_000_010), (len(data) - 262_145, len(data))):
        served = await client.get(url, headers={"Range": f"bytes={start}-{end - 1}"})
        assert (served.status_code, served.content) == (206, data[start:end])


@pytest.mark.parametrize("data", [DATA, noise(900, 900)], ids=["small", "large"])
async def test_an_object_is_deleted_while_it_is_asked_for(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """Between its head and its first byte it is gone: that is no connection that breaks off."""
    url = await link_of(client, data)
    objects: ObjectStore = app.state.services.objects
    head = objects.head

    async def deleted_right_after(key: str) -> ObjectInfo:
        info = await head(key)
        await objects.delete(key)
        return info

    monkeypatch.setattr(objects, "head", deleted_right_after)
    assert_problem(await client.get(url), 404, "object_not_found")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("spelling", ["{}", "W/{}", '"other", {}', "*"])
async def test_if_none_match(client: httpx.AsyncClient, method: str, spelling: str) -> None:
    url = await link_of(client)
    first = await client.get(url)
    answer = await client.request(method, url, headers={"If-None-Match": spelling.format(first.headers["etag"])})
    assert (answer.status_code, answer.content) == (304, b"")
    for name in ("etag", "cache-control"):
        assert answer.headers[name] == first.headers[name]
    # A 304 wins over a range (RFC 9110, 13.2.2).
    headers = {"If-None-Match": first.headers["etag"], "Range": "bytes=0-1"}
    assert (await client.request(method, url, headers=headers)).status_code == 304


async def test_a_changed_byte_is_refused(client: httpx.AsyncClient) -> None:
    """Wherever in the link it is."""
    url = await link_of(client)
    start = url.index("/objects/") + len("/objects/")
    for i in range(start, len(url), 7):
        changed = url[:i] + ("a" if url[i] != "a" else "b") + url[i + 1 :]
        assert_problem(await client.get(changed), 403, "signature_invalid")


@pytest.mark.parametrize(
    "query",
    ["", "?", "?X-Amz-Signature=", "?X-Amz-Algorithm=AWS4-HMAC-SHA256", "?%ff=%ff", "?a=b&a=b", "?&&", "?\u20ac"],
)
async def test_an_object_without_a_signature(client: httpx.AsyncClient, query: str) -> None:
    """Refused whether there is such an object or not, so nothing is told about which there are."""
    path = httpx.URL(await link_of(client)).path
    for asked in (
        path,
        path.replace(".png", ".jpg"),
        "/objects/",
        "/objects/%2e%2e/images.sqlite3",
        "/objects//etc/passwd",
    ):
        assert_problem(await client.get(asked + query), 403, "signature_invalid")


async def test_a_link_to_another_object(client: httpx.AsyncClient) -> None:
    """A signature is good for one object only."""
    one, other = httpx.URL(await link_of(client)), httpx.URL(await link_of(client))
    assert_problem(await client.get(one.copy_with(query=other.query)), 403, "signature_invalid")


@pytest.mark.parametrize("life", [1, 600, 604_800])
async def test_a_link_expires(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, life: int
) -> None:
    url = await link_of(client, expires_in=life)
    assert (await client.get(url)).status_code == 200
    shift_clock(app, monkeypatch, seconds=life)
    for headers in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": "*"}):
        assert_problem(await client.get(url, headers=headers), 403, "link_expired")
    assert (await client.head(url)).status_code == 403


async def test_a_link_from_the_future(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than clocks differ by."""
    url = await link_of(client)
    shift_clock(app, monkeypatch, minutes=-14)
    assert (await client.get(url)).status_code == 200
    shift_clock(app, monkeypatch, minutes=-16)
    assert_problem(await client.get(url), 403, "signature_invalid")


@pytest.mark.parametrize("host", ["evil.example.com", "testserver:8000", "testserver.evil.example.com", "localhost"])
async def test_a_link_is_good_for_the_host_it_was_made_for(client: httpx.AsyncClient, host: str) -> None:
    url = await link_of(client)
    assert_problem(await client.get(url, headers={"Host": host}), 403, "signature_invalid")


async def test_a_link_for_the_host_the_client_used(client: httpx.AsyncClient) -> None:
    """Behind any name that reaches the service, links lead back there."""
    image = await uploaded(client)
    for host in ("images.example.com", "127.0.0.1:8000", "[::1]:8000"):
        answer = await client.get(f"/images/{image['image_id']}", headers={"Host": host})
        url = answer.json()["url"]
        assert url.startswith(f"http://{host}/objects/")
        assert (await client.get(url)).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods(client: httpx.AsyncClient, method: str) -> None:
    url = await link_of(client)
    answer = await client.request(method, url, content=b"x")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"
    assert (await client.get(url)).content == DATA


async def test_two_links_to_the_same_object_serve_the_same(client: httpx.AsyncClient) -> None:
    """So a cache that knows the tag needs nothing anew when the link was renewed."""
    image = await uploaded(client, DATA)
    urls = [
        (await client.get(f"/images/{image['image_id']}", params={"expires_in": life})).json()["url"]
        for life in (60, 61)
    ]
    answers = [await client.get(url) for url in urls]
    assert urls[0] != urls[1]
    assert answers[0].headers["etag"] == answers[1].headers["etag"]
