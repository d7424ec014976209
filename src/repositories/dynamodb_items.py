"""Keys and items of the DynamoDB table, apart from calling it.

One table with `pk` and `sk`. Every item of an image carries the whole image as compact MessagePack (some 300 bytes,
so that a page of twenty is two read units), and is written and removed in one transaction with the others:

| item | pk | sk |
| --- | --- | --- |
| record | `image#<id>` | `image` |
| listing entries | `user#<u>`, `user#<u>#tag#<t>`, `all#<shard>`, `all#<shard>#tag#<t>` | `<id>` |
| checksum entry | `user#<u>#sha256` | `<hex>#<id>` |
| counters | see `dynamodb_counters` | |
| declared upload | `upload#<id>` | `upload` |
| idempotency key | `idem#<scope>#<key>` | `claim` |
| checksum guard, of an image that was added as the only one with its bytes | `user#<u>#sha256` | `<hex>` |
"""

import base64
import datetime as dt
import zlib
from typing import Any

import msgspec

from ..models.image import Image

type Item = dict[str, Any]
type Key = dict[str, str]

# "All images" is spread over this many partitions, so that no single one caps uploads. The number is in the keys: it
# can't be changed for a table that has images.
SHARDS = 4

_DATA_URI = "data:image/webp;base64,"
_MILLISECOND = dt.timedelta(milliseconds=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    """An Image without field names, with bytes where the text only spells bytes. New fields go to the end."""

    image_id: str
    user_id: str
    filename: str
    content_type: str
    size: int
    width: int
    height: int
    frames: int
    tags: tuple[str, ...]
    description: str
    sha256: bytes
    color: str
    placeholder: bytes
    created_at: int
    updated_at: int
    version: int


_decode = msgspec.msgpack.Decoder(_Stored).decode
_encode = msgspec.msgpack.Encoder().encode


def pack(image: Image) -> bytes:
    return _encode(
        _Stored(
            image.image_id,
            image.user_id,
            image.filename,
            image.content_type,
            image.size,
            image.width,
            image.height,
            image.frames,
            image.tags,
            image.description,
            bytes.fromhex(image.sha256),
            image.color,
            base64.b64decode(image.placeholder.removeprefix(_DATA_URI)),
            (image.created_at - _EPOCH) // _MILLISECOND,
            (image.updated_at - _EPOCH) // _MILLISECOND,
            image.version,
        )
    )


def unpack(data: bytes) -> Image:
    stored = _decode(data)
    return Image(
        image_id=stored.image_id,
        user_id=stored.user_id,
        filename=stored.filename,
        content_type=stored.content_type,
        size=stored.size,
        width=stored.width,
        height=stored.height,
        frames=stored.frames,
        tags=stored.tags,
        description=stored.description,
        sha256=stored.sha256.hex(),
        color=stored.color,
        placeholder=_DATA_URI + base64.b64encode(stored.placeholder).decode(),
        created_at=_EPOCH + stored.created_at * _MILLISECOND,
        updated_at=_EPOCH + stored.updated_at * _MILLISECOND,
        version=stored.version,
    )


def record_key(image_id: str) -> Key:
    return {"pk": f"image#{image_id}", "sk": "image"}


def upload_key(image_id: str) -> Key:
    return {"pk": f"upload#{image_id}", "sk": "upload"}


def claim_key(scope: str, key: str) -> Key:
    return {"pk": f"idem#{escaped(scope)}#{escaped(key)}", "sk": "claim"}


def entry_keys(image: Image) -> list[Key]:
    """Return the keys of everything that is listed from an image."""
    partitions = [
        partition
        for user_id in (image.user_id, None)
        for tag in (None, *image.tags)
        for partition in listing(user_id, tag, shard_of(image.image_id))
    ]
    return [
        *({"pk": partition, "sk": image.image_id} for partition in partitions),
        {"pk": checksums(image.user_id), "sk": f"{image.sha256}#{image.image_id}"},
    ]


def guard_key(image: Image) -> Key:
    return {"pk": checksums(image.user_id), "sk": image.sha256}


def checksums(user_id: str) -> str:
    return f"user#{escaped(user_id)}#sha256"


def checksum_range(sha256: str) -> tuple[str, str]:
    """Return texts below and above the entries of a checksum; what follows it is an id, in hex digits."""
    return f"{sha256}#", f"{sha256}#g"


def listing(user_id: str | None, tag: str | None, shard: int | None = None) -> list[str]:
    """Return the partitions that list the images of a user (or all) with a tag (or any).

    Those of all images are sharded: without `shard`, all of them are returned.
    """
    suffix = "" if tag is None else f"#tag#{escaped(tag)}"
    if user_id is not None:
        return [f"user#{escaped(user_id)}{suffix}"]
    return [f"all#{number}{suffix}" for number in (range(SHARDS) if shard is None else (shard,))]


def shard_of(image_id: str) -> int:
    return zlib.crc32(image_id.encode()) % SHARDS


def escaped(text: str) -> str:
    return text.replace("%", "%25").replace("#", "%23")
