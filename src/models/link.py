"""Links to an image's bytes."""

import datetime as dt

import msgspec


class Link(msgspec.Struct, frozen=True):
    """A URL that works without credentials, and the moment from which it does not."""

    url: str
    expires_at: dt.datetime
