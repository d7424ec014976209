"""When a request is sent again, and after how long. Only what is safe to repeat is sent this way at all."""

from collections.abc import Callable
from typing import NamedTuple

import httpx

from ..common.errors import OutcomeUnknown, Overloaded, RequestInProgress, ServiceError
from .errors import ServiceUnreachable, UnexpectedAnswer
from .flow import Flow, Send, Sink
from .pacing import LONGEST_WAIT, Pace, pause_after
from .problems import error_of, retry_after

_STATUSES = frozenset({429, 502, 503, 504})
# Nothing of these went out.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

_PATIENCE = 60.0  # seconds that a service may ask to wait; what asks for more is left


class _Failure(NamedTuple):
    """What an attempt failed by.

    `pause` is after how many seconds, at the least, another one may do better; None if it would not. `is_unsure` tells
    that the request may have been carried out all the same, `is_early` that the service only wants it later.
    """

    error: ServiceError
    pause: float | None
    is_unsure: bool
    is_early: bool = False


def attempts(
    request: Callable[[], httpx.Request],
    *,
    retries: int,
    pace: Pace,
    sink: Sink | None = None,
    is_wanted: Callable[[httpx.Response], bool] = lambda answer: answer.is_success,
    temporary: frozenset[int] = _STATUSES,
    done: type[ServiceError] | tuple[type[ServiceError], ...] = (),
    is_safe: bool = True,
) -> Flow[httpx.Response | None]:
    """Send what `request` makes, which is made anew for each attempt, until an answer is wanted, and return that.

    It may fail `retries` times; that a service has enough to do does not count, but for how long that is waited for.
    Without retries nothing is waited for. What is not safe is not repeated after it may have been carried out.

    After an attempt that may have been carried out, `done` are errors that suggest that it was: then None is returned.
    Raises the error of the last attempt.
    """
    is_unsure = False
    failures = early = 0
    pause = waited = 0.0
    while True:
        if retries:
            waited += yield from pace.wait(pause)
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
        if failure.pause is None or not retries or (failure.is_unsure and not is_safe):
            raise failure.error
        is_unsure = is_unsure or failure.is_unsure
        if failure.is_early:
            early += 1
            pace.hold(failure.pause)
            pause = failure.pause or pause_after(early)
            has_ended = waited + pause > LONGEST_WAIT
        else:
            failures += 1
            pause = max(failure.pause, pause_after(failures))
            has_ended = failures > retries
        if has_ended:
            raise failure.error


def _of_answer(answer: httpx.Response, temporary: frozenset[int]) -> _Failure:
    error = error_of(answer)
    wanted = retry_after(answer) or 0.0
    may_pass = answer.status_code in temporary or isinstance(error, RequestInProgress)
    return _Failure(
        error,
        pause=wanted if may_pass and wanted <= _PATIENCE else None,
        # The service knows what it did; a gateway before it does not.
        is_unsure=isinstance(error, OutcomeUnknown | UnexpectedAnswer) and answer.status_code != 429,
        is_early=answer.status_code == 429 or isinstance(error, Overloaded),
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
