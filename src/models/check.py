"""What a look at one part of a deployment came to."""

from typing import Literal

import msgspec

type CheckStatus = Literal["ok", "warning", "failed"]


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`detail` is what was found, and `advice` what to do where that is not as it should be."""

    name: str
    status: CheckStatus
    detail: str
    advice: str | None = None
