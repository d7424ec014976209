"""When a request is sent again, and after how long. Only what is safe to repeat is sent this way at all."""

import random
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import httpx

from ..common.errors import OutcomeUnknown, RequestInProgress, ServiceError
from .errors import ServiceUnreachable, UnexpectedAnswer
from .flow import Flow, Pause, Send, Sink
from .problems import error_of, retry_after

_STATUSES = frozenset({429, 502, 503, 504})
# Nothing of these went out.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

_FIRST_PAUSE = 0.25  # seconds; each further one is twice as long
_LONGEST_PAUSE = 10.0
_PATIENCE = 60.0  # seconds that a service may ask to wait; what asks for more is left


class _Failure(NamedTuple):
    """What an attempt failed by.

    `pause` is after how many seconds, at the least, another one may do better; None if it would not. `is_unsure` tells
    that the request may have been carried out all the same.
    """

    error: ServiceError
    pause: float | None
    is_unsure: bool


def attempts(
    request: Callable[[], httpx.Request],
    *,
    retries: int,
    sink: Sink | None = None,
    is_wanted: Callable[[httpx.Response], bool] = lambda answer: answer.is_success,
    temporary: frozenset[int] = _STATUSES,
    done: type[ServiceError] | tuple[type[ServiceError], ...] = (),
) -> Flow[httpx.Response | None]:
    """Send what `request` makes, which is made anew for each attempt, until an answer is wanted, and return that.

    After an attempt that may have been carried out, `done` are errors that suggest that it was: then None is returned.
    Raises the error of the last attempt.
    """
    is_unsure = False
    for attempt in count(1):
        try:
            answer: httpx.Response = yield Send(request(), sink)
        except httpx.LocalProtocolError as failed:
            raise ValueError(f"The request can't be sent: {failed}. Has its file changed meanwhile?") from failed
        except httpx.RequestError as failed:
            failure = _of_connection(failed)
        else:
            if is_wanted(answer):
                return answer
            failure = _of_answer(answer, temporary)
        if is_unsure and isinstance(failure.error, done):
            return None
        if failure.pause is None or attempt > retries:
            raise failure.error
        is_unsure = is_unsure or failure.is_unsure
        yield Pause(_pause_after(attempt, failure.pause))
    raise AssertionError  # it is counted without end


def _of_answer(answer: httpx.Response, temporary: frozenset[int]) -> _Failure:
    error = error_of(answer)
    wanted = retry_after(answer) or 0.0
    may_pass = answer.status_code in temporary or isinstance(error, RequestInProgress)
    return _Failure(
        error,
        pause=wanted if may_pass and wanted <= _PATIENCE else None,
        # The service knows what it did; a gateway before it does not.
        is_unsure=isinstance(error, OutcomeUnknown | UnexpectedAnswer) and answer.status_code != 429,
    )


def _of_connection(failed: httpx.RequestError) -> _Failure:
    url = failed.request.url
    reason = str(failed) or type(failed).__name__
    error = ServiceUnreachable(f"{url.scheme}://{url.netloc.decode('ascii')} does not answer: {reason}")
    error.__cause__ = failed
    return _Failure(
        error,
        pause=None if isinstance(failed, httpx.UnsupportedProtocol) else 0.0,
        is_unsure=not isinstance(failed, _NOT_SENT),
    )


def _pause_after(attempt: int, wanted: float) -> float:
    """Return the seconds to wait after the first attempt, or a later one: no less than is wanted."""
    pause = min(_FIRST_PAUSE * 2.0 ** (attempt - 1), _LONGEST_PAUSE)
    return max(wanted, pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that clients don't come back all at once
