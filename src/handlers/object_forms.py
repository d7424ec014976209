"""`POST /objects/`: a signed form brings a file, as S3's POST Object takes it."""

from collections.abc import Callable, Iterable
from contextlib import suppress

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from ..bootstrap import Services
from ..common.errors import InvalidRequest, ObjectNotFound, PayloadTooLarge, SignatureInvalid
from ..common.payload import Payload, spool
from ..common.post_policy import AllowedUpload
from ..models.image import image_id_of
from ..models.upload import INCOMING
from ..services.link_service import OBJECTS_PATH
from .admission import admit_anybody, upload_slot
from .answers import body_limits_of, prefix_of, services_of
from .body_limits import BodyLimits
from .request_bodies import MAX_FIELDS, FormParser, bounded

MAX_FIELD_SIZE = 20 * 1024  # bytes: S3 takes no more than that of all fields together
_FILE = "file"

Verify = Callable[[Iterable[tuple[str, str]]], AllowedUpload]


async def receive_form(request: Request) -> Response:
    """Store the file of a form with a valid signature; of any other form nothing is kept."""
    services = services_of(request)
    await admit_anybody(request)
    with upload_slot(request, None):
        return await _receive(request, services)


async def _receive(request: Request, services: Services) -> Response:
    def verify(fields: Iterable[tuple[str, str]]) -> AllowedUpload:
        allowed = services.links.verify_form(fields)
        if not allowed.key.startswith(INCOMING):
            raise SignatureInvalid("The form is not one that this service has signed.")
        request.state.image_id = image_id_of(allowed.key)
        return allowed

    parser = SignedFormParser(request, body_limits_of(request), verify)
    try:
        form = await parser.parse_whole()
    except PayloadTooLarge as error:  # what S3 answers with 400, as any file that is larger than was signed
        raise InvalidRequest.field(_FILE, error.detail) from None
    try:
        allowed, payload = parser.received()
        await services.objects.put(allowed.key, payload, content_type=allowed.content_type, durable=False)
    finally:
        await form.close()
    headers = {"Location": f"{prefix_of(request)}{OBJECTS_PATH}{allowed.key}"}
    with suppress(ObjectNotFound):  # if the upload is completed already
        headers["ETag"] = (await services.objects.head(allowed.key)).etag
    return Response(status_code=204, headers=headers)


class SignedFormParser(FormParser):
    """Takes in a file only once `verify` has let the fields before it pass, and no more of it than they allow.

    As S3 does: the part `file` is the file, and any other one a field, whether they have a file name or not; the
    file's own Content-Type counts for nothing, nor do fields that come after it.
    """

    def __init__(self, request: Request, limits: BodyLimits, verify: Verify) -> None:
        super().__init__(
            request.headers,
            bounded(request, limits, limits.binary),
            max_files=MAX_FIELDS,
            max_fields=MAX_FIELDS,
            max_part_size=MAX_FIELD_SIZE,
        )
        self._verify = verify
        self._allowed: AllowedUpload | None = None
        self._file: UploadFile | None = None
        self._size = 0

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.field_name.lower() != _FILE:
            if part.file:
                part.file.file.close()
                part.file = None
            return
        if self._allowed:
            raise InvalidRequest.field(_FILE, "wants one file, got several")
        self._allowed = self._verify((name, value) for name, value in self.items if isinstance(value, str))
        part.file = self._file = part.file or self._unnamed()

    def _unnamed(self) -> UploadFile:
        file = spool()
        self._files_to_close_on_error.append(file)  # type: ignore[arg-type]
        return UploadFile(file, size=0)  # type: ignore[arg-type]

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._allowed and self._current_part.file:
            self._size += end - start
            if self._size > self._allowed.high:
                raise InvalidRequest.field(_FILE, f"wants at most {self._allowed.high} bytes, got more")
        super().on_part_data(data, start, end)

    def received(self) -> tuple[AllowedUpload, Payload]:
        """Return the file of a form that is parsed. Raises InvalidRequest if it is not there, or too small."""
        if self._allowed is None or self._file is None:
            raise InvalidRequest.field(_FILE, "wants a part that holds the file")
        if self._size < self._allowed.low:
            raise InvalidRequest.field(_FILE, f"wants at least {self._allowed.low} bytes, got {self._size}")
        return self._allowed, Payload(self._file.file, self._size)
