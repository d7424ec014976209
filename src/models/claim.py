"""Idempotency keys: a claim is one request's hold on a key, and later what the request came to."""

import msgspec

from .image import Image, Moment


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a key (`token`), for which content, and until when if it never ends; or the `result`, until it expires.

    A key is the caller's own: `scope` tells callers apart.
    """

    scope: str
    key: str
    fingerprint: str
    token: str
    locked_until: Moment
    expires_at: Moment
    result: bytes | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What an upload came to: the image, and whether it is new."""

    image: Image
    is_new: bool
