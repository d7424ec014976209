"""By what requests are counted that bring no valid token."""

import pytest
from starlette.requests import Request

from src.handlers.admission import address_of


def of(host: str | None) -> str:
    return address_of(Request({"type": "http", "client": None if host is None else (host, 1)}))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::2%eth0", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1%" + "x" * 1_000, "192.0.2.1"),
    ],
)
def test_one_address_has_one_spelling(host: str, expected: str) -> None:
    assert of(host) == f"address {expected}"


@pytest.mark.parametrize("host", [None, "", "unix:", "x" * 60_000, "1.2.3", "192.0.2.1, 192.0.2.2"])
def test_what_is_no_address_is_counted_together(host: str | None) -> None:
    """A proxy that is trusted may have put anything there: nobody gets a bucket, or our memory, for that."""
    assert of(host) == "address unknown"
