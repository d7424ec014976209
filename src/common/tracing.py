"""Traces across services: the header that names them (W3C Trace Context), and the port of whoever records spans."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

# https://www.w3.org/TR/trace-context/#traceparent-header: a later version may have more behind a dash.
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

# https://www.w3.org/TR/trace-context/#tracestate-header-field-values
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
MOST_STATE = 512  # characters, which W3C Trace Context wants to be passed on
MOST_MEMBERS = 32


class TraceParent(NamedTuple):
    """The caller's span: ids in hex, and flags (1: sampled)."""

    trace_id: str
    span_id: str
    flags: int

    @classmethod
    def of(cls, header: str) -> "TraceParent | None":
        """Return None for what is not one."""
        match = _PARENT.fullmatch(header)
        if match is None or (match[1] == "00" and match[5] is not None):
            return None
        return cls(match[2], match[3], int(match[4], 16))


def state_of(header: str) -> str:
    """Return what a header `tracestate` says, and nothing if it is too long or not one: anybody may send anything."""
    if len(header) > MOST_STATE:
        return ""
    members = [member for member in (part.strip(" \t") for part in header.split(",")) if member]
    is_one = len(members) <= MOST_MEMBERS and all(map(_MEMBER.fullmatch, members))
    return ",".join(members) if is_one else ""


class ServedRequest:
    """A request of which a span is recorded: what is known only when it is answered is set meanwhile."""

    def __init__(self, method: str | None, scheme: str, parent: TraceParent | None, state: str) -> None:
        """Take None for a method that is not known, and for the state a header `tracestate` that is one."""
        self.method = method
        self.scheme = scheme
        self.parent = parent
        self.state = state
        self.route: str | None = None
        self.status = 0  # none was sent


class Span(Protocol):
    def end(self, error: BaseException | None) -> None: ...


class Tracing(Protocol):
    """Records spans, each as a part of the one that is current."""

    is_on: bool

    def begin(self, name: str, attributes: Mapping[str, str]) -> Span:
        """Begin a span that has no parts; what is part of no other one is not recorded."""
        ...

    def current(self, name: str) -> AbstractContextManager[object]:
        """Return the context of a span, which is current in it."""
        ...

    def serving(self, request: ServedRequest) -> AbstractContextManager[Mapping[str, str]]:
        """Return the context of a request's span, which is current in it and gives the span's ids, for the log."""
        ...

    def close(self) -> None:
        """Hand over what is recorded; it may take seconds."""
        ...


class NoSpan:
    def end(self, error: BaseException | None) -> None:
        return


class NoTracing:
    """For where nothing is recorded."""

    is_on = False

    def begin(self, name: str, attributes: Mapping[str, str]) -> Span:
        return NO_SPAN

    def current(self, name: str) -> AbstractContextManager[object]:
        return nullcontext()

    def serving(self, request: ServedRequest) -> AbstractContextManager[Mapping[str, str]]:
        return nullcontext({})

    def close(self) -> None:
        return


NO_SPAN = NoSpan()
NO_TRACING = NoTracing()
