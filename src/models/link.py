"""Links to an image's bytes."""

import datetime as dt

import msgspec


class Link(msgspec.Struct, frozen=True):
    """A URL that works without credentials, the moment from which it does not, and how many seconds that is."""

    url: str
    expires_at: dt.datetime
    life: int
