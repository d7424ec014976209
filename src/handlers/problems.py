"""Error class -> HTTP status and problem+json (RFC 9457), by one table."""

from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..common import errors
from ..common.errors import ServiceError
from ..common.logging import request_id
from ..models.wire import Problem

STATUS: Mapping[type[ServiceError], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthenticated: 401,
    errors.InsufficientScope: 403,
    errors.OriginRefused: 403,
    errors.LinkRefused: 403,
    errors.QuotaExceeded: 403,
    errors.TooManyRenditions: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTimeout: 408,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedRequestBody: 415,
    errors.UnsupportedImageFormat: 415,
    errors.RangeNotSatisfiable: 416,
    errors.UnacceptableImage: 422,
    errors.IdempotencyKeyReused: 422,
    errors.RequestHeadTooLarge: 431,
    errors.LimitReached: 429,
    errors.KeysUnavailable: 503,
    errors.Overloaded: 503,
    errors.InternalError: 500,
    errors.StoreError: 502,
    errors.StoreUnavailable: 503,
}
RETRY_AFTER = 1  # seconds
CHALLENGE = 'Bearer realm="image-service"'


def status_of(error: type[ServiceError]) -> int:
    """Return the status of the nearest class that has one."""
    return next(STATUS[cls] for cls in error.__mro__ if cls in STATUS)


def problem_response(error: ServiceError, *, headers: Mapping[str, str] | None = None) -> Response:
    status = status_of(type(error))
    body = Problem(
        type=f"urn:image-service:problem:{error.code}",
        title=error.title,
        status=status,
        detail=error.detail,
        code=error.code,
        request_id=request_id.get(),
        errors=error.errors,
    )
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        headers={"Cache-Control": "no-store", **_own_headers(error, status), **(headers or {})},
        media_type="application/problem+json",
    )


def _own_headers(error: ServiceError, status: int) -> dict[str, str]:
    """Return the headers that belong to some statuses. Those of tokens are RFC 6750's (section 3)."""
    match error:
        case errors.TokenMissing():
            return {"WWW-Authenticate": CHALLENGE}
        case errors.TokenInvalid():
            # The description takes no quotation mark and no backslash.
            reason = "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in error.detail)
            return {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token", error_description="{reason}"'}
        case errors.InsufficientScope():
            return {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope", scope="{error.scope}"'}
        case errors.LimitReached() | errors.KeysUnavailable():
            return {"Retry-After": str(error.retry_after)}
        case errors.RangeNotSatisfiable():
            return {"Content-Range": f"bytes */{error.size}"}
        case _ if status == 503 or isinstance(error, errors.RequestInProgress):
            return {"Retry-After": str(RETRY_AFTER)}
    return {}


def from_http_exception(error: HTTPException, method: str, path: str) -> ServiceError:
    """Say in our words what the routing found."""
    if error.status_code == 404:
        return errors.RouteNotFound(f"There is no {path}.")
    if error.status_code == 405:
        return errors.MethodNotAllowed(f"{path} does not take {method}.")
    return errors.InternalError("The request could not be answered.")
