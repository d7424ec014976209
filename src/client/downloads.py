"""Getting the bytes of images."""

from pathlib import Path
from typing import BinaryIO, Unpack

from ..models.wire import LinkedImage
from .flow import Flow
from .images import get
from .parameters import Rendition
from .session import Session
from .storage import fetch
from .targets import Receiver, Target, in_memory


def content(session: Session, image_id: str, **rendition: Unpack[Rendition]) -> Flow[bytes]:
    """Return an image's bytes, or those of a rendition. An original's size and SHA-256 are verified.

    Raises ImageNotFound, or UnexpectedAnswer if the bytes are not those of the image.
    """
    image = yield from get(session, image_id, **rendition)
    buffer, receiver = in_memory()
    yield from _receive(session, image, receiver, rendition)
    return buffer.getvalue()


def download(
    session: Session, image_id: str, target: Path | str | BinaryIO, **rendition: Unpack[Rendition]
) -> Flow[Path | None]:
    """Save an image, or a rendition, and return the path of the file; of a target that is open already, None.

    A file has its name only once it is whole. In a directory it gets the image's name, and never replaces another.
    An original's size and SHA-256 are verified. Raises ImageNotFound, OSError, or UnexpectedAnswer if the bytes are not
    those of the image.
    """
    place = Target(target)
    image = yield from get(session, image_id, **rendition)
    with place.open(image) as receiver:
        yield from _receive(session, image, receiver, rendition)
    return place.path


def _receive(session: Session, image: LinkedImage, receiver: Receiver, rendition: Rendition) -> Flow[None]:
    yield from fetch(session, image.url, receiver)
    if all(value is None for value in rendition.values()):
        receiver.verify(image)
