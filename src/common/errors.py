"""Every failure the service reports, in domain words.

ServiceError
├── InvalidRequest              a parameter or the body is malformed; names the fields
├── Unauthenticated             nobody knows who calls
│   ├── TokenMissing
│   └── TokenInvalid
├── InsufficientScope           it is known who calls, and that is not enough
├── OriginRefused               a page of another web site calls
├── LinkRefused                 a signed link that may not be followed
│   ├── SignatureInvalid
│   └── LinkExpired
├── NotFound
│   ├── ImageNotFound
│   ├── UploadNotFound
│   ├── ObjectNotFound
│   └── RouteNotFound
├── MethodNotAllowed
├── RequestTimeout
├── Conflict                    with what is there, or is going on
│   ├── ImageExists
│   ├── UploadIncomplete
│   ├── UploadCompleted
│   ├── UploadChanged
│   └── RequestInProgress
├── PreconditionFailed          If-Match
├── IdempotencyKeyReused
├── PayloadTooLarge
├── UnsupportedRequestBody      the request's own Content-Type
├── UnsupportedImageFormat      the bytes are not of a format that is accepted
├── RangeNotSatisfiable
├── RequestHeadTooLarge
├── UnacceptableImage
│   ├── UndecodableImage
│   ├── TooManyPixels
│   ├── ActiveContent
│   ├── DimensionsMismatch
│   └── UploadMismatch
├── LimitReached                a caller asks for more than is allowed at a time
│   ├── TooManyRequests
│   └── TooManyUploads
├── QuotaExceeded               the owner has as much as one may have
├── TooManyRenditions           an image has as many as one may have
├── Overloaded                  more is waiting than is worth waiting for
├── KeysUnavailable             what tokens are verified with can't be had
├── InternalError               what nobody foresaw
└── StoreError                  a store failed; the request did not
    ├── StoreFailed             it refused or broke: the operation did not happen
    └── StoreUnavailable        try again later
        └── OutcomeUnknown      it may have happened all the same

Which HTTP status a class gets is decided once, in `handlers.problems`.
"""

from typing import ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field (a query parameter, form field, JSON member or header)."""

    field: str
    message: str


class ServiceError(Exception):
    """`str(error)` is for the client; what only the log may see goes on as the `__cause__`."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors


class InvalidRequest(ServiceError):
    code = "invalid_request"
    title = "The request is malformed"

    @classmethod
    def of(cls, *errors: FieldError) -> "InvalidRequest":
        """Build the error whose detail is the sum of its fields' messages."""
        return cls("; ".join(f"{e.field}: {e.message}" for e in errors), errors=errors)

    @classmethod
    def field(cls, name: str, message: str) -> "InvalidRequest":
        return cls.of(FieldError(name, message))


class Unauthenticated(ServiceError):
    """Abstract: nobody knows who calls."""


class TokenMissing(Unauthenticated):
    code = "token_missing"
    title = "This takes a token"


class TokenInvalid(Unauthenticated):
    code = "token_invalid"
    title = "The token is not accepted"


class InsufficientScope(ServiceError):
    """`scope` is the one that is missing."""

    code = "insufficient_scope"
    title = "The token does not allow this"

    def __init__(self, detail: str, scope: str) -> None:
        super().__init__(detail)
        self.scope = scope


class OriginRefused(ServiceError):
    code = "origin_refused"
    title = "Pages of this web site may not call the API"


class LinkRefused(ServiceError):
    """Abstract: a signed link may not be followed."""


class SignatureInvalid(LinkRefused):
    code = "signature_invalid"
    title = "The link's signature does not match"


class LinkExpired(LinkRefused):
    code = "link_expired"
    title = "The link has expired"


class NotFound(ServiceError):
    """Abstract: what is asked for does not exist."""


class ImageNotFound(NotFound):
    code = "image_not_found"
    title = "No such image"

    def __init__(self, image_id: str) -> None:
        super().__init__(f"There is no image {image_id}.")


class UploadNotFound(NotFound):
    code = "upload_not_found"
    title = "No such upload"

    def __init__(self, image_id: str) -> None:
        super().__init__(f"There is no upload {image_id}.")


class ObjectNotFound(NotFound):
    code = "object_not_found"
    title = "No such object"


class RouteNotFound(NotFound):
    code = "route_not_found"
    title = "No such route"


class MethodNotAllowed(ServiceError):
    code = "method_not_allowed"
    title = "The route does not take this method"


class RequestTimeout(ServiceError):
    code = "request_timeout"
    title = "The client stopped in the middle of its request"


class Conflict(ServiceError):
    """Abstract: it can't be done as things are."""


class ImageExists(Conflict):
    code = "image_exists"
    title = "The image id is taken"


class UploadIncomplete(Conflict):
    code = "upload_incomplete"
    title = "Nothing has been uploaded yet"


class UploadCompleted(Conflict):
    code = "upload_completed"
    title = "The upload is an image already"


class UploadChanged(Conflict):
    code = "upload_changed"
    title = "Other bytes were uploaded before"


class RequestInProgress(Conflict):
    code = "request_in_progress"
    title = "A request with the same Idempotency-Key is being carried out"


class PreconditionFailed(ServiceError):
    code = "precondition_failed"
    title = "The image is not the one that If-Match names"


class IdempotencyKeyReused(ServiceError):
    code = "idempotency_key_reused"
    title = "The Idempotency-Key belongs to another request"


class PayloadTooLarge(ServiceError):
    code = "payload_too_large"
    title = "The upload is too large"


class UnsupportedRequestBody(ServiceError):
    code = "unsupported_request_body"
    title = "The request's Content-Type is not one that is read"


class UnsupportedImageFormat(ServiceError):
    code = "unsupported_image_format"
    title = "The file is not a picture of an accepted format"


class RangeNotSatisfiable(ServiceError):
    code = "range_not_satisfiable"
    title = "The range lies outside the object"

    def __init__(self, size: int) -> None:
        super().__init__(f"The object has {size} bytes.")
        self.size = size


class RequestHeadTooLarge(ServiceError):
    code = "request_head_too_large"
    title = "Request line and headers are too large"


class UnacceptableImage(ServiceError):
    """Abstract: the bytes were read, and are refused."""


class UndecodableImage(UnacceptableImage):
    code = "undecodable_image"
    title = "The picture cannot be decoded"


class TooManyPixels(UnacceptableImage):
    code = "too_many_pixels"
    title = "The picture has too many pixels"


class ActiveContent(UnacceptableImage):
    code = "active_content"
    title = "The picture hides a web page"


class DimensionsMismatch(UnacceptableImage):
    code = "dimensions_mismatch"
    title = "The picture has other dimensions than stated"


class UploadMismatch(UnacceptableImage):
    code = "upload_mismatch"
    title = "The file is not what was declared"


class LimitReached(ServiceError):
    """Abstract: a caller asks for more than is allowed at a time; in `retry_after` seconds it may try again."""

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class TooManyRequests(LimitReached):
    code = "too_many_requests"
    title = "Too many requests"


class TooManyUploads(LimitReached):
    code = "too_many_uploads"
    title = "Too many uploads at once"


class QuotaExceeded(ServiceError):
    code = "quota_exceeded"
    title = "The owner's quota is used up"


class TooManyRenditions(ServiceError):
    code = "too_many_renditions"
    title = "The image has too many renditions"


class Overloaded(ServiceError):
    code = "overloaded"
    title = "There is more to do than can be done soon"


class KeysUnavailable(ServiceError):
    """In `retry_after` seconds the issuer may be asked again."""

    code = "keys_unavailable"
    title = "Tokens can't be verified now"
    retry_after: ClassVar[int] = 10


class InternalError(ServiceError):
    pass


class StoreError(ServiceError):
    """Abstract: a store failed."""


class StoreFailed(StoreError):
    code = "store_failed"
    title = "A store refused the operation"


class StoreUnavailable(StoreError):
    code = "store_unavailable"
    title = "A store does not answer"


class OutcomeUnknown(StoreUnavailable):
    code = "outcome_unknown"
    title = "A store did not say whether the operation happened"


class ConfigurationError(Exception):
    """A setting or the environment does not allow a start; `str(error)` is one clear line."""
