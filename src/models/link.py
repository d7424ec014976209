"""Links to an image's bytes, and forms that bring them."""

import datetime as dt

import msgspec


class Link(msgspec.Struct, frozen=True):
    """A URL that works without credentials, the moment from which it does not, and how many seconds that is."""

    url: str
    expires_at: dt.datetime
    life: int


class Form(msgspec.Struct, frozen=True):
    """A form that stores a file without credentials, and the moment from which it does not.

    It is posted to `url` as multipart/form-data: the fields, and after them the file as the part `file`.
    """

    url: str
    fields: dict[str, str]
    expires_at: dt.datetime
