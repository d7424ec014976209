"""Answers that are no success -> the errors that they stand for."""

import datetime as dt
import re
from email.utils import parsedate_to_datetime

import httpx
import msgspec

from ..common import errors
from ..common.errors import ServiceError
from ..models.wire import Problem
from .errors import UnexpectedAnswer

# An abstract class has no code of its own, but for the one that what nobody foresaw gets.
_CLASS_OF = {
    cls.code: cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, ServiceError) and "code" in vars(cls)
} | {errors.InternalError.code: errors.InternalError}

_SCOPE = re.compile(r'\bscope="([^"]*)"')
_SHOWN = 200  # characters of an answer that nobody knows


def error_of(answer: httpx.Response) -> ServiceError:
    """Return the error that an answer reports; UnexpectedAnswer if it is not a problem with a code that is known."""
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _described(UnexpectedAnswer, _summary(answer), answer)
    cls = _CLASS_OF.get(problem.code)
    if cls is None:
        return _described(UnexpectedAnswer, f"{problem.detail} ({problem.status} {problem.code})", answer, problem)
    return _described(cls, problem.detail, answer, problem)


def unexpected(answer: httpx.Response, what: str) -> UnexpectedAnswer:
    """Return the error for an answer that is a success, but not what was asked for."""
    return _described(UnexpectedAnswer, what, answer)


def _described[E: ServiceError](cls: type[E], detail: str, answer: httpx.Response, problem: Problem | None = None) -> E:
    error = cls.__new__(cls)
    # Not by the class's own constructor, which may make the detail of something else.
    ServiceError.__init__(error, detail, errors=problem.errors if problem else ())
    error.status = answer.status_code
    error.request_id = (problem and problem.request_id) or answer.headers.get("x-request-id")
    match error:
        case errors.InsufficientScope():
            found = _SCOPE.search(answer.headers.get("www-authenticate", ""))
            error.scope = found[1] if found else ""
        case errors.LimitReached():
            error.retry_after = int(retry_after(answer) or 1)
        case errors.RangeNotSatisfiable():
            size = answer.headers.get("content-range", "").rpartition("/")[2]
            error.size = int(size) if size.isdecimal() else 0
    return error


def _summary(answer: httpx.Response) -> str:
    place = _place(answer.request.url)
    status = f"{answer.status_code} {answer.reason_phrase}".strip()
    if answer.has_redirect_location:
        following = answer.request.url.join(answer.headers["location"])
        return f"{place} answered {status}, and leads to {_place(following)}."
    text = " ".join(answer.text.split())
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"{place} answered {status}{f': {shown}' if shown else '.'}"


def _place(url: httpx.URL) -> str:
    """Return a URL without what may be secret in it, such as the query: it may be signed."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def retry_after(answer: httpx.Response) -> float | None:
    """Return the seconds that a Retry-After asks to wait (RFC 9110, 10.2.3), if there is one that can be read."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
