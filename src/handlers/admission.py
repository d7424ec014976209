"""Who may come in: the token of a request, the scope that an operation takes, and how much one caller may ask for."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from ipaddress import ip_address, ip_network
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..common.config import Settings
from ..common.errors import KeysUnavailable, TokenInvalid, Unauthenticated
from ..models.caller import Caller, Scope
from .answers import header_values, services_of
from .origins import refuse_foreign_page

# Where tokens are asked for and the settings do not say: as many requests as a stage of API Gateway lets through.
RATE_LIMIT = 100
MAX_CONCURRENT_UPLOADS = 16

LINK_PARAMETERS = frozenset({"expires", "signature"})

type Operation = Callable[[Request], Awaitable[Response]]


class Rate(Protocol):
    async def charge(self, caller: str) -> None: ...


class Slots(Protocol):
    def taken(self, caller: str) -> AbstractContextManager[None]: ...


class Unbounded:
    """For where nobody is bounded, or by others."""

    async def charge(self, caller: str) -> None:
        return

    def taken(self, caller: str) -> AbstractContextManager[None]:
        return nullcontext()


class Allowances(msgspec.Struct, frozen=True):
    """How much one caller may ask for."""

    requests: Rate
    uploads: Slots

    @classmethod
    def of(cls, settings: Settings) -> "Allowances":
        rate, most = settings.rate_limit, settings.max_concurrent_uploads
        if rate is None:
            rate = 0 if settings.is_open else RATE_LIMIT
        if most is None:
            most = 0 if settings.is_open else MAX_CONCURRENT_UPLOADS
        if not rate and not most:
            return UNBOUNDED
        from .rates import RequestRate, UploadSlots  # only where it is needed, since it takes 60 ms to import

        return cls(
            RequestRate(rate, settings.rate_burst) if rate else Unbounded(),
            UploadSlots(most) if most else Unbounded(),
        )


UNBOUNDED = Allowances(Unbounded(), Unbounded())


def needs(scope: Scope) -> Callable[[Callable[[Request, Caller], Awaitable[Response]]], Operation]:
    """Admit to an operation, which gets the caller, only those who have the scope."""

    def decorate(operation: Callable[[Request, Caller], Awaitable[Response]]) -> Operation:
        @wraps(operation)
        async def admitted(request: Request) -> Response:
            return await operation(request, await _admit(request, scope))

        admitted.scope = scope  # type: ignore[attr-defined]
        return admitted

    return decorate


def needs_link_or(scope: Scope) -> Callable[[Callable[[Request, Caller | None], Awaitable[Response]]], Operation]:
    """Admit to an operation those who have the scope, and those with a signed link: then the caller is None.

    The operation itself has to verify the link.
    """

    def decorate(operation: Callable[[Request, Caller | None], Awaitable[Response]]) -> Operation:
        @wraps(operation)
        async def admitted(request: Request) -> Response:
            if not LINK_PARAMETERS.isdisjoint(request.query_params):
                await admit_anybody(request)
                return await operation(request, None)
            return await operation(request, await _admit(request, scope))

        admitted.scope, admitted.takes_links = scope, True  # type: ignore[attr-defined]
        return admitted

    return decorate


async def admit_anybody(request: Request) -> None:
    """Admit whoever comes with a signature instead of a token. Raises TooManyRequests."""
    await _charge(request, None)


async def _admit(request: Request, scope: Scope) -> Caller:
    """Raise Unauthenticated, InsufficientScope or TooManyRequests."""
    authentication = services_of(request).authentication
    if authentication.is_open:
        refuse_foreign_page(request)
    headers = header_values(request, b"authorization")
    try:
        if len(headers) > 1 and not authentication.is_open:
            raise TokenInvalid("There is more than one Authorization header.")
        caller = await authentication.caller(headers[0] if headers else None)
    except (Unauthenticated, KeysUnavailable):  # whoever it is
        await _charge(request, None)
        raise
    await _charge(request, caller)
    if not authentication.is_open:
        request.state.user_id = caller.user_id  # for the log
    caller.require(scope)
    return caller


async def _charge(request: Request, caller: Caller | None) -> None:
    allowances = allowances_of(request)
    if allowances is not UNBOUNDED:  # then it need not be known who it is
        await allowances.requests.charge(principal_of(request, caller))


def upload_slot(request: Request, caller: Caller | None) -> AbstractContextManager[None]:
    """Return the context of an upload that is under way. Raises TooManyUploads."""
    return allowances_of(request).uploads.taken(principal_of(request, caller))


def allowances_of(request: Request) -> Allowances:
    allowances: Allowances = request.app.state.allowances
    return allowances


def principal_of(request: Request, caller: Caller | None) -> str:
    """Return by whom requests are counted: by the user, or where that is not known by the address."""
    if caller is None or services_of(request).authentication.is_open:
        return address_of(request)
    return f"user {caller.user_id}"


def address_of(request: Request) -> str:
    """Return by whom requests are counted that say nothing else; of IPv6 by network, all of which one may have."""
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return "address unknown"  # a proxy that is trusted may say anything
    if address.version == 4:
        return f"address {address}"
    return f"address {address.ipv4_mapped or ip_network((int(address), 64), strict=False)}"


def guard_of(operation: Any) -> tuple[Scope | None, bool]:
    """Return the scope that an operation takes, if any, and whether a signed link will do."""
    return getattr(operation, "scope", None), getattr(operation, "takes_links", False)
