"""Links to originals, and forms: their names (RFC 6266), the rotation of keys, and a public address of their own."""

import datetime as dt
import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.common.errors import LinkExpired, SignatureInvalid
from src.common.sigv4 import Credentials
from src.models.image import Image, original_key
from src.models.link import Form
from src.services.link_service import LinkService, content_disposition
from tests.support.images import make_image

OLD, NEW = Credentials("old-key", "the old secret"), Credentials("new-key", "the new secret")
NOW = dt.datetime(2026, 1, 31, 9, 30, 15, 750_000, tzinfo=dt.UTC)
ORIGIN = "http://localhost:8000"
# RFC 6266, 4.1, in the strict form that RFC 9110's quoted-string and RFC 8187's ext-value give.
HEADER = re.compile(
    r"(?P<type>inline|attachment); "
    r'filename="(?P<name>[ !#-\[\]-~]*)"'
    r"(?:; filename\*=UTF-8''(?P<extended>(?:[A-Za-z0-9!#$&+\-.^_`|~]|%[0-9A-F]{2})*))?"
)


def links(*keyring: Credentials, **options: Any) -> LinkService:
    defaults: dict[str, Any] = {"region": "us-east-1", "default_life": 3600, "now": lambda: NOW}
    keys = keyring or (NEW,)
    return LinkService(signer=lambda: keys[0], keyring=keys, **{**defaults, **options})


def an_image(filename: str = "a.png") -> Image:
    return make_image(filename=filename, content_type="image/png")


def follow(service: LinkService, url: str, *, method: str = "GET", prefix: str = "", host: str | None = None) -> Any:
    """Verify a link as the server gets it, behind a proxy that takes `prefix` off."""
    parts = urlsplit(url)
    assert parts.path.startswith(prefix)
    path = parts.path.removeprefix(prefix)
    return service.verify(method, path=path, query=parts.query, host=parts.netloc if host is None else host)[0]


def disposition_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["response-content-disposition"][0]


def test_a_link_leads_to_the_original() -> None:
    image = an_image()
    link = links().link(image, origin=ORIGIN, expires_in=60)
    assert link.url.startswith(f"{ORIGIN}/objects/{original_key(image.image_id, 'image/png')}?")
    assert link.expires_at == NOW.replace(microsecond=0) + dt.timedelta(seconds=60)
    assert follow(links(), link.url) == {
        "response-cache-control": "private, max-age=60, immutable",
        "response-content-disposition": 'inline; filename="a.png"',
    }


def test_a_link_lives_as_long_as_the_setting_says() -> None:
    link = links(default_life=100).link(an_image(), origin=ORIGIN)
    assert link.expires_at == NOW.replace(microsecond=0) + dt.timedelta(seconds=100)
    with pytest.raises(LinkExpired):
        follow(links(now=lambda: link.expires_at), link.url)


def test_a_download_is_an_attachment() -> None:
    assert disposition_of(links().link(an_image(), origin=ORIGIN, download=True).url) == 'attachment; filename="a.png"'


def test_a_link_serves_head_too_and_nothing_else() -> None:
    url = links().link(an_image(), origin=ORIGIN).url
    assert follow(links(), url, method="HEAD")
    for method in ("PUT", "POST", "DELETE", "OPTIONS", "get", ""):
        with pytest.raises(SignatureInvalid):
            follow(links(), url, method=method)


def test_keys_are_rotated_without_breaking_links() -> None:
    """The first key signs; a link by a key that is still in the ring works, by one that is not doesn't."""
    before = links(OLD).link(an_image(), origin=ORIGIN).url
    after = links(NEW, OLD).link(an_image(), origin=ORIGIN).url
    assert "X-Amz-Credential=old-key%2F" in before
    assert "X-Amz-Credential=new-key%2F" in after
    assert follow(links(NEW, OLD), before)
    assert follow(links(NEW), after)
    for service, url in ((links(NEW), before), (links(OLD), after)):
        with pytest.raises(SignatureInvalid):
            follow(service, url)


def test_a_key_of_the_same_name_with_another_secret() -> None:
    url = links(NEW).link(an_image(), origin=ORIGIN).url
    with pytest.raises(SignatureInvalid):
        follow(links(NEW._replace(secret_access_key="another")), url)


@pytest.mark.parametrize(
    ("endpoint", "prefix"),
    [
        ("https://cdn.example.com", ""),
        ("https://cdn.example.com/images", "/images"),
        ("https://cdn.example.com/a/b~c", "/a/b~c"),
        ("http://cdn.example.com:8080/images", "/images"),
        ("https://cdn.example.com:443/images", "/images"),
        ("http://cdn.example.com:80", ""),
        ("https://CDN.Example.com/images", "/images"),
    ],
)
def test_a_public_endpoint(endpoint: str, prefix: str) -> None:
    """Links are under it, and are verified for it whatever a proxy makes of host and path on the way to us."""
    service = links(public_endpoint=endpoint)
    url = service.link(an_image(), origin="http://10.0.0.1:8000").url
    wanted, parts = urlsplit(endpoint), urlsplit(url)
    assert (parts.scheme, parts.hostname) == (wanted.scheme, wanted.hostname)
    assert parts.path.startswith(f"{prefix}/objects/originals/")
    assert follow(service, url, prefix=prefix, host="10.0.0.1:8000")
    with pytest.raises(SignatureInvalid):
        follow(links(), url, prefix=prefix, host="10.0.0.1:8000")


def test_a_path_prefix_of_our_own() -> None:
    """What the client called us by is where the link leads."""
    url = links().link(an_image(), origin="http://localhost:8000/dev").url
    assert url.startswith("http://localhost:8000/dev/objects/originals/")
    assert follow(links(), url)


def test_a_link_is_good_for_one_host() -> None:
    url = links().link(an_image(), origin=ORIGIN).url
    for host in ("localhost", "localhost:8001", "evil.example.com", ""):
        with pytest.raises(SignatureInvalid):
            follow(links(), url, host=host)


@pytest.mark.parametrize(
    ("filename", "value"),
    [
        ("a.png", 'inline; filename="a.png"'),
        ("my photo (1).png", 'inline; filename="my photo (1).png"'),
        ("a;b=c,d'e.png", 'inline; filename="a;b=c,d\'e.png"'),
        ('a"b.png', "inline; filename=\"a_b.png\"; filename*=UTF-8''a%22b.png"),
        ("a\\b.png", "inline; filename=\"a_b.png\"; filename*=UTF-8''a%5Cb.png"),
        ("100%.png", "inline; filename=\"100_.png\"; filename*=UTF-8''100%25.png"),
        ("%41.png", "inline; filename=\"_41.png\"; filename*=UTF-8''%2541.png"),
        ("€ rates.png", "inline; filename=\"_ rates.png\"; filename*=UTF-8''%E2%82%AC%20rates.png"),
        ("a\r\nSet-Cookie: b", "inline; filename=\"a__Set-Cookie: b\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20b"),
    ],
)
def test_names_in_the_header(filename: str, value: str) -> None:
    """RFC 6266, appendix D: no escapes in the plain form, and RFC 8187's form where that loses something."""
    assert content_disposition("inline", filename) == value


@given(
    st.sampled_from(["inline", "attachment"]),
    st.text(max_size=255) | st.text(alphabet="\"\\%;=' \r\n\0é\x7f", max_size=9),
)
def test_any_name_gives_a_valid_header(disposition: str, filename: str) -> None:
    """One line of plain ASCII, from which the name can be had back exactly."""
    match = HEADER.fullmatch(content_disposition(disposition, filename))
    assert match is not None
    assert match["type"] == disposition
    if match["extended"] is None:
        assert match["name"] == filename
    else:
        assert unquote(match["extended"], errors="strict") == filename
        assert len(match["name"]) == len(filename)


def test_names_survive_the_link() -> None:
    """A name of any kind is signed, sent back and set as the header."""
    for filename in ("€ & ü + %.png", 'a"b.png', "a b.png", "?#&=.png", "日本語.png"):
        url = links().link(an_image(filename), origin=ORIGIN, download=True).url
        wanted = content_disposition("attachment", filename)
        assert follow(links(), url)["response-content-disposition"] == wanted


@pytest.mark.parametrize(("expires_in", "life"), [(60, 60), (3_600, 3_600), (604_800, 3_600)])
def test_temporary_credentials_promise_no_more_than_they_hold(expires_in: int, life: int) -> None:
    """A link dies with what signed it: `expires_at` says an hour at the most, whatever was asked for."""
    service = links(Credentials("ASIAIOSFODNN7EXAMPLE", "secret", "token"))
    link = service.link(an_image(), origin="http://images.example.com", expires_in=expires_in)
    assert link.expires_at == NOW.replace(microsecond=0) + dt.timedelta(seconds=life)
    assert parse_qs(urlsplit(link.url).query)["X-Amz-Expires"] == [str(life)]


def test_a_link_does_not_outlive_its_credentials() -> None:
    """Where it is known when they end, that is when the link does."""
    key = NEW._replace(session_token="token", expires_at=NOW + dt.timedelta(seconds=900))
    link = links(key).link(an_image(), origin=ORIGIN, expires_in=3600)
    assert link.expires_at == NOW.replace(microsecond=0) + dt.timedelta(seconds=900)
    assert "X-Amz-Expires=900&" in link.url


def form(service: LinkService, *, life: int = 600, origin: str = ORIGIN, **options: Any) -> Form:
    defaults: dict[str, Any] = {"content_type": "image/png", "size": 9}
    expires_at = NOW + dt.timedelta(seconds=life)
    return service.form("incoming/1a/a.png", origin=origin, expires_at=expires_at, **{**defaults, **options})


def test_a_form_is_accepted_until_it_ends() -> None:
    made = form(links())
    assert made.expires_at == NOW.replace(microsecond=0) + dt.timedelta(seconds=600)
    assert links().verify_form(made.fields.items()) == ("incoming/1a/a.png", "image/png", 9, 9)
    with pytest.raises(LinkExpired):
        links(now=lambda: made.expires_at).verify_form(made.fields.items())


@pytest.mark.parametrize(
    ("options", "origin", "url"),
    [
        ({}, ORIGIN, "http://localhost:8000/objects/"),
        ({}, "http://localhost:8000/dev", "http://localhost:8000/dev/objects/"),
        ({"public_endpoint": "https://cdn.example.com/a"}, ORIGIN, "https://cdn.example.com/a/objects/"),
        (
            {"public_endpoint": "https://s3.example.com", "objects_path": "/pictures/"},
            ORIGIN,
            "https://s3.example.com/pictures/",
        ),
        (
            {"public_endpoint": "https://pictures.s3.us-east-1.amazonaws.com", "objects_path": "/"},
            ORIGIN,
            "https://pictures.s3.us-east-1.amazonaws.com/",
        ),
    ],
)
def test_where_a_form_is_sent(options: dict[str, Any], origin: str, url: str) -> None:
    """Where links lead, less the key, which is a field."""
    assert form(links(**options), origin=origin).url == url


def test_a_form_is_good_for_one_bucket() -> None:
    fields = form(links(bucket="pictures")).fields.items()
    assert links(bucket="pictures").verify_form(fields)
    with pytest.raises(SignatureInvalid):
        links().verify_form(fields)


def test_keys_are_rotated_without_breaking_forms() -> None:
    before, after = form(links(OLD)).fields.items(), form(links(NEW, OLD)).fields.items()
    assert links(NEW, OLD).verify_form(before)
    assert links(NEW).verify_form(after)
    for service, fields in ((links(NEW), before), (links(OLD), after)):
        with pytest.raises(SignatureInvalid):
            service.verify_form(fields)


@pytest.mark.parametrize(("life", "promised"), [(60, 60), (3_600, 3_600), (86_400, 3_600)])
def test_a_form_by_temporary_credentials(life: int, promised: int) -> None:
    """It promises an hour at the most, as links do; one by lasting credentials what was asked for."""
    made = form(links(Credentials("ASIAIOSFODNN7EXAMPLE", "secret", "token")), life=life)
    assert made.expires_at == NOW.replace(microsecond=0) + dt.timedelta(seconds=promised)
    assert made.fields["x-amz-security-token"] == "token"
    assert form(links(), life=life).expires_at == NOW.replace(microsecond=0) + dt.timedelta(seconds=life)


def test_a_form_does_not_outlive_its_credentials() -> None:
    key = NEW._replace(session_token="token", expires_at=NOW + dt.timedelta(seconds=900))
    made = form(links(key), life=3_600)
    assert made.expires_at == NOW.replace(microsecond=0) + dt.timedelta(seconds=900)
    with pytest.raises(LinkExpired):
        links(key, now=lambda: made.expires_at).verify_form(made.fields.items())
