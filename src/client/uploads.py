"""Uploading: through the service, or straight to its storage."""

import uuid
from collections.abc import Mapping
from typing import Any, Unpack

import msgspec

from ..common.errors import ServiceError, UnsupportedImageFormat, UploadNotFound
from ..models.image import Image
from ..models.wire import UploadAnswer, UploadForm
from .answers import UploadedImage
from .counts import limits
from .flow import Flow, work
from .parameters import Details
from .query import form_fields, tags_of
from .session import Session, read, upload_path
from .sources import NO_NAME, File, Source, opened
from .storage import send_form

# What is larger goes straight to storage, as in the gallery.
DIRECT_FROM = 5 * 1024 * 1024  # bytes
_CARRIED_ANYWHERE = 1024 * 1024  # bytes that no gateway refuses, so that nobody need be asked
_FORM_SIZE = 64 * 1024  # bytes at the most of what goes with a file in a form


def upload(
    session: Session,
    file: File,
    *,
    direct: bool | None = None,
    idempotency_key: str | None = None,
    **details: Unpack[Details],
) -> Flow[UploadedImage]:
    """Upload a picture: a path, bytes, or a file that is open in binary mode, from where it stands.

    Without a `filename` it has the file's own; if an image may not have that, or with an empty one, the service names
    it. Large files go straight to storage, others through the service; `direct` says which of them. It is sent again
    when a connection breaks, and stored once; with an `idempotency_key` of your own also if you call again within an
    hour.
    Raises OSError or ValueError for a file that can't be read, and what the service says of one that it refuses.
    """
    with opened(file) as prepared:
        source = yield from work(prepared)
        if direct is None:
            direct = yield from _is_too_large_for_a_body(session, source.size)
        fields = {"filename": source.name, **_said(details)}
        fields["filename"] = fields["filename"] or None  # which is the service's to give then
        if not direct:
            return (yield from _post(session, source, fields, idempotency_key))
        content_type = yield from work(source.content_type)
        if content_type is None:
            raise UnsupportedImageFormat("The file does not begin as a picture of a format that is known here.")
        declared = {
            **fields,
            "content_type": content_type,
            "size": source.size,
            "sha256": (yield from work(source.sha256)),
        }
        return (yield from _send_directly(session, source, declared, idempotency_key))


def restore(session: Session, image: Image, file: File) -> Flow[UploadedImage]:
    """Upload an image's file again, of an image that is gone: its id, version and times stay what they were.

    Raises ValueError if the file is not the image's, and ImageExists if the image is there.
    """
    with opened(file) as prepared:
        source = yield from work(prepared)
        if source.size != image.size or (yield from work(source.sha256)) != image.sha256:
            raise ValueError(f"file: is not that of image {image.image_id}")
        kept = ("image_id", "version", "updated_at", "user_id", "filename", "tags", "description")
        declared = {name: getattr(image, name) for name in (*kept, "content_type", "size", "sha256")}
        return (yield from _send_directly(session, source, declared, None))


def declare_upload(
    session: Session,
    *,
    content_type: str,
    size: int,
    sha256: str | None = None,
    idempotency_key: str | None = None,
    **details: Unpack[Details],
) -> Flow[UploadAnswer]:
    """Declare a file that somebody, say a browser, then sends straight to storage, and return the form for it.

    `upload.url` takes a multipart form with `upload.fields`, and the part `file` behind them.
    """
    declared = {**details, "content_type": content_type, "size": size, "sha256": sha256}
    return (yield from _declare(session, declared, idempotency_key))


def get_upload(session: Session, image_id: str) -> Flow[UploadAnswer]:
    """Return how far a direct upload is. Raises UploadNotFound."""
    return read((yield from session.ask("GET", upload_path(image_id))), UploadAnswer)


def complete_upload(session: Session, image_id: str) -> Flow[UploadedImage]:
    """Make an image of what was sent; if that is done already, return it.

    Raises UploadNotFound, UploadIncomplete, or what says why the file is not acceptable.
    """
    return (yield from _complete(session, image_id, None))


def cancel_upload(session: Session, image_id: str) -> Flow[None]:
    """Forget a direct upload, and what was sent of it. Raises UploadNotFound or UploadCompleted."""
    yield from session.ask_or_find_done("DELETE", upload_path(image_id), done=UploadNotFound)


def _is_too_large_for_a_body(session: Session, size: int) -> Flow[bool]:
    if size >= DIRECT_FROM:
        return True
    if size <= _CARRIED_ANYWHERE:
        return False
    return size + _FORM_SIZE > (yield from limits(session)).max_body_size


def _post(session: Session, source: Source, fields: Mapping[str, Any], key: str | None) -> Flow[UploadedImage]:
    answer = yield from session.ask(
        "POST", "/images", headers=_keyed(key), data=form_fields(fields), files={"file": (NO_NAME, source)}
    )
    return UploadedImage.of(answer)


def _send_directly(
    session: Session, source: Source, declared: Mapping[str, Any], key: str | None
) -> Flow[UploadedImage]:
    upload = yield from _declare(session, declared, key)
    try:
        if isinstance(upload.upload, UploadForm):  # else a repeated request, after the form's life
            form = upload.upload
            yield from send_form(session, form.url, lambda: {"data": form.fields, "files": {"file": ("file", source)}})
        return (yield from _complete(session, upload.image_id, key))
    except ServiceError:
        if key is None:  # else the same request may come again, and goes on with this upload
            yield from _give_up(session, upload.image_id)
        raise


def _declare(session: Session, declared: Mapping[str, Any], key: str | None) -> Flow[UploadAnswer]:
    headers = {**_keyed(key), "Content-Type": "application/json"}
    answer = yield from session.ask("POST", "/uploads", headers=headers, content=msgspec.json.encode(_said(declared)))
    return read(answer, UploadAnswer)


def _complete(session: Session, image_id: str, key: str | None) -> Flow[UploadedImage]:
    # Another request than the declaration, so it has another key, which follows from that one.
    own = str(uuid.uuid5(uuid.UUID(int=0), key)) if key else None
    return UploadedImage.of((yield from session.ask("POST", upload_path(image_id, "complete"), headers=_keyed(own))))


def _give_up(session: Session, image_id: str) -> Flow[None]:
    """Cancel an upload that came to nothing; if that fails too, it vanishes within a day."""
    try:
        yield from session.ask("DELETE", upload_path(image_id), retries=0)
    except ServiceError:
        return


def _said(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not None. Raises ValueError for tags that are a single text."""
    said = {name: value for name, value in details.items() if value is not None}
    return {**said, "tags": tags_of("tags", said["tags"])} if "tags" in said else said


def _keyed(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}
