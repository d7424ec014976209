"""Links to our own `/images/{image_id}/content`, which leads on to the bytes: they outlive any presigned URL.

`signature` is the HMAC-SHA256 of the image's id and every other parameter, so none can be changed, added or left out.
"""

import datetime as dt
import hmac
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode

from ..common.errors import LinkExpired, SignatureInvalid
from ..models.link import Link
from .link_service import utc_now

KeySource = Callable[[], Awaitable[tuple[str, ...]]]


def content_path(image_id: str) -> str:
    return f"/images/{image_id}/content"


class ContentLinks:
    """Signs with the first of the keys, verifies with any."""

    def __init__(self, keys: KeySource, *, now: Callable[[], dt.datetime] = utc_now) -> None:
        self._keys = keys
        self._now = now

    async def link(self, image_id: str, parameters: Mapping[str, str], *, origin: str, expires_at: dt.datetime) -> Link:
        """Sign a link below `origin` with these parameters, that works until `expires_at` (whole seconds)."""
        signed = {**parameters, "expires": str(int(expires_at.timestamp()))}
        signature = _signature((await self._keys())[0], image_id, signed)
        url = f"{origin}{content_path(image_id)}?{urlencode({**signed, 'signature': signature})}"
        return Link(url, expires_at, int((expires_at - self._now()).total_seconds()))

    async def verify(self, image_id: str, parameters: Mapping[str, str]) -> dt.datetime:
        """Check a link by all its parameters; return the moment from which it is refused.

        Raises SignatureInvalid or LinkExpired.
        """
        signed = dict(parameters)
        given = signed.pop("signature", "").encode()
        expected = [_signature(key, image_id, signed).encode() for key in await self._keys()]
        if not any(hmac.compare_digest(given, each) for each in expected):
            raise SignatureInvalid("The link's signature does not match its address or parameters.")
        expires_at = dt.datetime.fromtimestamp(int(signed["expires"]), dt.UTC)
        if self._now() >= expires_at:
            raise LinkExpired("The link has expired. Ask for a new one.")
        return expires_at


def _signature(key: str, image_id: str, parameters: Mapping[str, str]) -> str:
    text = f"{content_path(image_id)}?{urlencode(sorted(parameters.items()))}"
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()
