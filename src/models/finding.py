"""What a reconciliation finds: how the stores differ from what the records say."""

from typing import Any, Literal

import msgspec

Kind = Literal[
    "object without a record",
    "renditions without a record",
    "bytes without an upload",
    "part of a broken write",
    "entry without a record",
    "entry that is missing",
    "entry that is out of date",
    "wrong counter",
    "record without its object",
]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One difference. `what` is the object's key, the record's id or the counter's name; `size` is in bytes."""

    kind: Kind
    what: str
    size: int = 0
    detail: str = ""
    handle: Any = None  # what the store that found it needs to mend it


LOST: Kind = "record without its object"  # the one that nothing can mend
