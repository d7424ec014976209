"""What a client knows of its service, and how it asks it."""

import os
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from .. import VERSION
from ..common.errors import ServiceError
from ..models.wire import Limits
from .flow import Flow
from .pacing import Pace
from .problems import unexpected
from .query import Values, pairs
from .retrying import attempts

DEFAULT_URL = "http://127.0.0.1:8000"
USER_AGENT = {"User-Agent": f"image-service-client/{VERSION}"}

_ACCEPT = {"Accept": "application/json, application/problem+json"}
_CONNECT_TIMEOUT = 10.0  # seconds, of those that a request has
_VISIBLE = re.compile(r"[!-~]+")
_MAY_BE_SECRET = re.compile("[@?#]")  # a password stands before the one, a signature or a token behind the others


class Session:
    """The service's address and the caller's token, and what every request to it is sent with."""

    def __init__(self, url: str | None, *, token: str | None, timeout: float, retries: int) -> None:
        """Take what is not given from the environment. Raises ValueError for what can't be used."""
        self.url = _base_url(os.environ.get("IMAGE_SERVICE_URL") or DEFAULT_URL if url is None else url)
        self._token = _usable_token(os.environ.get("IMAGE_SERVICE_TOKEN") or None if token is None else token)
        if timeout <= 0:
            raise ValueError(f"timeout: wants seconds above 0, got {timeout}")
        if retries < 0:
            raise ValueError(f"retries: wants 0 or more, got {retries}")
        # There is no limit to how long a request waits for others of the same client.
        self.timeout = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT), pool=None)
        self.retries = retries
        self.pace = Pace()
        self.known_limits: Limits | None = None

    def ask(self, method: str, path: str, **request: Any) -> Flow[httpx.Response]:
        """Send a request, again where that is safe and may help, and return the answer, which is a success."""
        answer = yield from self.ask_or_find_done(method, path, done=(), **request)
        assert answer is not None  # noqa: S101 - nothing was to show that it is done
        return answer

    def ask_or_find_done(
        self,
        method: str,
        path: str,
        *,
        done: type[ServiceError] | tuple[type[ServiceError], ...],
        query: Values | None = None,
        headers: Mapping[str, str] | None = None,
        retries: int | None = None,
        is_safe: bool = True,
        **body: Any,
    ) -> Flow[httpx.Response | None]:
        """Do as `ask` does, but return None where an error that is one of `done` says that an earlier attempt did it.

        What is not safe is not repeated after it may have been carried out. `body` is what httpx.Request makes one of.
        Raises what the service reports, ServiceUnreachable or UnexpectedAnswer; and ValueError for headers that can't
        be sent.
        """
        for name, value in (headers or {}).items():
            if not _VISIBLE.fullmatch(value):
                raise ValueError(f"{name}: wants visible ASCII characters")
        own = {**_ACCEPT, **USER_AGENT, **(headers or {})}
        if method == "POST":
            own.setdefault("Idempotency-Key", str(uuid.uuid4()))
        if self._token:
            own["Authorization"] = f"Bearer {self._token}"
        url = httpx.URL(f"{self.url}{path}", params=pairs(query or {}))
        return (
            yield from attempts(
                lambda: self.request(method, url, headers=own, **body),
                retries=self.retries if retries is None else retries,
                pace=self.pace,
                done=done,
                is_safe=is_safe,
            )
        )

    def request(self, method: str, url: httpx.URL | str, **content: Any) -> httpx.Request:
        """Make a request with the client's time limits, and nothing else of it."""
        return httpx.Request(method, url, extensions={"timeout": self.timeout.as_dict()}, **content)


def image_path(image_id: str, *further: str) -> str:
    return _path("/images", image_id, *further)


def upload_path(image_id: str, *further: str) -> str:
    return _path("/uploads", image_id, *further)


def _path(start: str, image_id: str, *further: str) -> str:
    if not isinstance(image_id, str) or image_id in ("", ".", ".."):
        raise ValueError(f"image_id: wants the id of an image, got {image_id!r}")
    return "/".join((start, quote(image_id, safe=""), *further))


def read[T](answer: httpx.Response, type_: type[T]) -> T:
    """Read a JSON answer; what this client does not know in it is passed over. Raises UnexpectedAnswer."""
    try:
        return msgspec.json.decode(answer.content, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise unexpected(
            answer, f"{answer.request.url.path} answered something else than was asked for: {error}"
        ) from None


def _base_url(text: str) -> str:
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.userinfo or url.query or url.fragment:
        raise ValueError("url: wants neither a user, nor a query, nor a fragment")
    if url.scheme not in ("http", "https") or not url.host:
        got = "another" if _MAY_BE_SECRET.search(text) else repr(text)
        raise ValueError(f"url: wants one such as https://images.example or http://127.0.0.1:8000, got {got}")
    return str(url).rstrip("/")


def _usable_token(token: str | None) -> str | None:
    if token is not None and not _VISIBLE.fullmatch(token):
        raise ValueError("token: wants visible ASCII characters, without blanks and line breaks")
    return token
