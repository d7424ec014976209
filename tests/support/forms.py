"""Signed forms as clients post them, right and wrong."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import httpx

from src.common.ids import new_id
from src.models.link import Form
from tests.support.api import form
from tests.support.payloads import some_bytes

DATA = some_bytes(3_000)
IMAGE_ID = new_id()
KEY = f"incoming/{IMAGE_ID[-2:]}/{IMAGE_ID}.png"
FILE = 'form-data; name="file"; filename="a.png"'

Pairs = list[tuple[str, str]]


def parts_of(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, bytes]]:
    """Return fields as parts for `form`."""
    return [(f'form-data; name="{name}"', value.encode()) for name, value in pairs]


def body_of(pairs: Iterable[tuple[str, str]], data: bytes | None = DATA, *, file: str = FILE) -> dict[str, Any]:
    """Return the body and header of a form with these fields and then the file."""
    return form(*parts_of(pairs), *([] if data is None else [(file, data)]))


async def post(client: httpx.AsyncClient, signed: Form, data: bytes | None = DATA, **changed: str) -> httpx.Response:
    """Post a form, with some values changed."""
    return await client.post(signed.url, **body_of({**signed.fields, **changed}.items(), data))


class Attempt(NamedTuple):
    """What a client makes of the fields that it got, the file that it sends, and the status that it gets for them."""

    status: int
    change: Callable[[Mapping[str, str]], Pairs] = lambda fields: [*fields.items()]
    data: bytes | None = DATA
    file: str = FILE


def with_(**values: str) -> Callable[[Mapping[str, str]], Pairs]:
    """Add fields, or set them; an underscore stands for a hyphen."""
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return lambda fields: [*{**fields, **named}.items()]


def without(*names: str) -> Callable[[Mapping[str, str]], Pairs]:
    return lambda fields: [(name, value) for name, value in fields.items() if name not in names]


def changed(name: str, old: str, new: str) -> Callable[[Mapping[str, str]], Pairs]:
    def change(fields: Mapping[str, str]) -> Pairs:
        assert old in fields[name]
        return [*{**fields, name: fields[name].replace(old, new, 1)}.items()]

    return change


SIGNATURE = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")

# What S3 and our own home have to answer alike. A form without a credential is not among them: S3 says 400, and so do
# we, while the emulator takes it for an anonymous one.
ATTEMPTS = {
    "as it was made": Attempt(204),
    "in another order": Attempt(204, lambda fields: [*reversed(fields.items())]),
    "names in capitals": Attempt(204, lambda fields: [(name.upper(), value) for name, value in fields.items()]),
    "the bucket as a field": Attempt(204, lambda fields: [("bucket", "BUCKET"), *fields.items()]),
    "a field to be ignored": Attempt(204, with_(x_ignore_a="b")),
    "a file of another type": Attempt(204, file=f"{FILE}\r\nContent-Type: text/html"),
    "a file without a name": Attempt(204, file='form-data; name="file"'),
    "a file with an empty name": Attempt(204, file='form-data; name="file"; filename=""'),
    "another key": Attempt(403, changed("key", ".png", ".gif")),
    "a key elsewhere": Attempt(403, changed("key", "incoming/", "originals/")),
    "another type": Attempt(403, changed("Content-Type", "png", "html")),
    "another bucket": Attempt(403, with_(bucket="another")),
    "an extra field": Attempt(403, with_(acl="public-read")),
    "an extra field about the answer": Attempt(403, with_(success_action_status="201")),
    "extra metadata": Attempt(403, with_(x_amz_meta_a="b")),
    "no key": Attempt(400, without("key")),
    "an empty key": Attempt(400, with_(key="")),
    "no type": Attempt(403, without("Content-Type")),
    "no policy": Attempt(400, without("policy")),
    "no signature": Attempt(400, without("x-amz-signature")),
    "no algorithm": Attempt(400, without("x-amz-algorithm")),
    "no date": Attempt(400, without("x-amz-date")),
    "nothing signed": Attempt(403, without("policy", *SIGNATURE)),
    "another policy": Attempt(403, lambda fields: with_(policy=fields["policy"][4:])(fields)),
    "another signature": Attempt(403, with_(x_amz_signature="0" * 64)),
    "no hex for a signature": Attempt(403, with_(x_amz_signature="ü")),
    "a capital signature": Attempt(
        403, lambda fields: with_(x_amz_signature=fields["x-amz-signature"].upper())(fields)
    ),
    "another algorithm": Attempt(400, with_(x_amz_algorithm="AWS4-ECDSA-P256-SHA256")),
    "another day": Attempt(400, with_(x_amz_date="20130524T000000Z")),
    "another time of the day": Attempt(
        403, lambda fields: with_(x_amz_date=f"{fields['x-amz-date'][:9]}000000Z")(fields)
    ),
    "no date at all": Attempt(400, with_(x_amz_date="yesterday")),
    "another region": Attempt(400, changed("x-amz-credential", "/us-east-1/", "/eu-west-1/")),
    "another service": Attempt(400, changed("x-amz-credential", "/s3/", "/sqs/")),
    "another scope": Attempt(400, changed("x-amz-credential", "/aws4_request", "")),
    "a stranger": Attempt(
        403, lambda fields: with_(x_amz_credential="stranger/" + fields["x-amz-credential"].partition("/")[2])(fields)
    ),
    "a byte too many": Attempt(400, data=DATA + b"x"),
    "far too many bytes": Attempt(400, data=bytes(11 * 1024 * 1024)),
    "a byte too few": Attempt(400, data=DATA[1:]),
    "no bytes": Attempt(400, data=b""),
    "no file": Attempt(400, data=None),
}
