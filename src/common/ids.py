"""Image ids: UUIDv7 (RFC 9562, section 5.7), whose text order is the order of creation."""

import datetime as dt
import re

import uuid_utils

ID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

_UUID7 = re.compile(ID_PATTERN)


def new_id() -> str:
    return str(uuid_utils.uuid7())


def is_id(text: str) -> bool:
    return _UUID7.fullmatch(text) is not None


def created_at(image_id: str) -> dt.datetime:
    """Return the moment (UTC, whole milliseconds) that the id carries."""
    milliseconds = int(image_id[:8] + image_id[9:13], 16)
    return _EPOCH + dt.timedelta(milliseconds=milliseconds)


def in_milliseconds(moment: dt.datetime) -> dt.datetime:
    """Return a moment as precise as what an id carries: in whole milliseconds, the rest cut off."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def first_id_at(moment: dt.datetime) -> str:
    """Return the shortest text that sorts before every id made at `moment` or later and after all older ones.

    Ids carry whole milliseconds, so a moment within a millisecond counts as the next one.
    """
    milliseconds = -((_EPOCH - moment) // dt.timedelta(milliseconds=1))
    text = f"{min(max(milliseconds, 0), 0xFFFF_FFFF_FFFF):012x}"
    return f"{text[:8]}-{text[8:]}"


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
