"""A direct upload: declared to us, sent straight to the object store, then completed."""

import datetime as dt

from .image import EXTENSION_OF, Details, Moment

INCOMING = "incoming/"
FORM_LIFE = dt.timedelta(hours=1)  # in which the bytes may be sent
KEPT = dt.timedelta(days=1)  # after which an upload is forgotten, completed or not


class NewUpload(Details, frozen=True, kw_only=True):
    """What is declared of a file that is not there yet.

    With `image_id` it is an image that was elsewhere, or here before, and is to be as it was then.
    """

    content_type: str
    size: int
    sha256: str | None = None
    image_id: str | None = None
    version: int | None = None
    updated_at: Moment | None = None


class Upload(NewUpload, frozen=True, kw_only=True):
    """A declaration with the id that its image will have; until `expires_at` the bytes may be sent.

    `sha256` is what the bytes must have: as declared, or that of the bytes that were first accepted. `completed` is
    the id of the image that the upload became: its own, or that of an older image with the same bytes. `version` and
    `updated_at` are given for an image that is restored, and for no other.
    """

    image_id: str
    expires_at: Moment
    completed: str | None = None


def incoming_key(upload: Upload) -> str:
    """Return the object key under which the client stores the bytes."""
    return f"{INCOMING}{upload.image_id[-2:]}/{upload.image_id}.{EXTENSION_OF[upload.content_type]}"


def kept_until(upload: Upload) -> dt.datetime:
    """Return the moment from which an upload is as good as never declared; its id may be older than it is."""
    return upload.expires_at - FORM_LIFE + KEPT
