"""Operations as flows: generators that yield what is to be done, and get what came of it.

Whoever drives them does it in one way or another, blocking or not; what is done, and when again, is written once.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, Protocol

import httpx


class Sink(Protocol):
    """Where the body of an answer goes."""

    def begin(self, answer: httpx.Response) -> None:
        """Take note of a successful answer before the first byte of its body."""

    def write(self, chunk: bytes) -> None: ...


class Send(NamedTuple):
    """To be sent; comes to an httpx.Response, whose body is read, or written to the sink if the answer is a success.

    What keeps it from being answered is raised in the flow, as httpx raises it.
    """

    request: httpx.Request
    sink: Sink | None = None


class Pause(NamedTuple):
    """To be waited for."""

    seconds: float


class Work(NamedTuple):
    """To be called where it holds nobody up; comes to what it returns."""

    function: Callable[[], object]


type Flow[T] = Generator[Send | Pause | Work, Any, T]


class Batch[T](NamedTuple):
    """A part of a list. `after` continues it, as the service wants it; it is None when the list is over."""

    items: Sequence[T]
    after: str | None


type Batches[T] = Callable[[str | None], Flow[Batch[T]]]


def work[T](function: Callable[[], T]) -> Flow[T]:
    """Call something that takes its time."""
    result: T = yield Work(function)
    return result
