"""How large a request body may be: what the largest picture needs, and what the place can carry."""

import msgspec

from ..common.errors import PayloadTooLarge

# Beside the picture: the other fields, in the worst encoding, and the multipart boundaries.
OVERHEAD = 64 * 1024


class BodyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that a body may have. `carried` is what reaches us here at all; None if there is no such bound."""

    binary: int
    json: int
    carried: int | None

    @classmethod
    def of(cls, max_image_size: int, *, carried: int | None = None) -> "BodyLimits":
        binary = max_image_size + OVERHEAD
        # Base64 makes four characters of three bytes; JSON may spell a slash with two, and a line break with four.
        json = max_image_size * 4 // 3 * 35 // 32 + OVERHEAD
        if carried is None:
            return cls(binary=binary, json=json, carried=None)
        return cls(binary=min(binary, carried), json=min(json, carried), carried=carried)

    def exceeded(self, limit: int) -> PayloadTooLarge:
        """Return the error for a body over `limit`, which is one of these."""
        detail = f"The request body has more than {limit} bytes."
        if limit == self.carried:
            detail += " Larger pictures go straight to storage: POST /uploads."
        return PayloadTooLarge(detail)
