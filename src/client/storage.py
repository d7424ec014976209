"""The other origin: where links and forms lead. It gets what they say, and no token."""

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from .errors import ServiceUnreachable
from .flow import Flow
from .problems import error_of, unexpected
from .retrying import attempts
from .session import USER_AGENT, Session
from .targets import Receiver

_TEMPORARY = frozenset({429, 500, 502, 503, 504})  # S3 asks to repeat what got 500
_REPEATED = frozenset({307, 308})  # redirects that want the same request once more
_MOST_REDIRECTS = 5


def fetch(session: Session, url: str, receiver: Receiver) -> Flow[None]:
    """Follow a link to bytes, and take them in."""
    # As they are stored: parts of what is compressed on the way can't be put together.
    headers = {**USER_AGENT, "Accept-Encoding": "identity"}

    def request(place: httpx.URL) -> httpx.Request:
        return session.request("GET", place, headers={**headers, **receiver.headers()})

    yield from _followed(session, httpx.URL(url), request, lambda _: True, sink=receiver)


def send_form(session: Session, url: str, content: Callable[[], dict[str, Any]]) -> Flow[None]:
    """Post a form; `content` returns what httpx.Request makes it of."""

    def request(place: httpx.URL) -> httpx.Request:
        return session.request("POST", place, headers=USER_AGENT, **content())

    yield from _followed(session, httpx.URL(url), request, lambda answer: answer.status_code in _REPEATED)


def _followed(
    session: Session,
    url: httpx.URL,
    request: Callable[[httpx.URL], httpx.Request],
    may_follow: Callable[[httpx.Response], bool],
    *,
    sink: Receiver | None = None,
) -> Flow[None]:
    for _ in range(_MOST_REDIRECTS):
        answer = yield from attempts(
            partial(request, url),
            retries=session.retries,
            pace=session.pace,
            sink=sink,
            is_wanted=lambda answer: answer.is_success or answer.has_redirect_location,
            temporary=_TEMPORARY,
        )
        assert answer  # noqa: S101 - nothing was to show that it is done
        if answer.is_success:
            return
        if not may_follow(answer):
            raise error_of(answer)
        url = _next(url, answer)
    raise ServiceUnreachable(f"The storage leads on and on, at last to {url.copy_with(query=None)}.")


def _next(url: httpx.URL, answer: httpx.Response) -> httpx.URL:
    """Return where a redirect leads. Raises UnexpectedAnswer if what was encrypted would no longer be."""
    following = url.join(answer.headers["location"])
    if following.scheme != "https" and following.scheme != url.scheme:
        raise unexpected(answer, f"The storage leads from {url.scheme} to {following.scheme}.")
    return following
