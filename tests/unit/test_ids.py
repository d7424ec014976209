"""Ids: their order is the order of creation, and a moment is a place in it."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.common.ids import created_at, first_id_at, is_id, new_id

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND = dt.timedelta(milliseconds=1)
# The last one that `datetime` can say.
milliseconds = st.integers(0, 253_402_300_799_999)
moments = st.datetimes(timezones=st.timezones() | st.just(dt.UTC))


def id_at(milliseconds: int, random: int = 0) -> str:
    """Return an id made at a moment, laid out as in RFC 9562, section 5.7."""
    time, bits = f"{milliseconds:012x}", f"{random:019x}"
    return f"{time[:8]}-{time[8:]}-7{bits[:3]}-{'89ab'[random % 4]}{bits[3:6]}-{bits[6:18]}"


def test_new_ids_are_ids_in_order() -> None:
    """Also of those that are made within the same millisecond."""
    ids = [new_id() for _ in range(5_000)]
    assert all(is_id(image_id) for image_id in ids)
    assert ids == sorted(set(ids))


def test_new_ids_are_unique_among_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = [
            image_id for some in threads.map(lambda _: [new_id() for _ in range(1_000)], range(8)) for image_id in some
        ]
    assert len(set(ids)) == 8_000


def test_an_id_carries_the_moment_it_was_made() -> None:
    before = dt.datetime.now(dt.UTC)
    moment = created_at(new_id())
    assert before - MILLISECOND <= moment <= dt.datetime.now(dt.UTC)
    assert moment.utcoffset() == dt.timedelta(0)


@given(milliseconds, st.integers(0, 16**18 - 1))
def test_created_at_round_trip(time: int, random: int) -> None:
    image_id = id_at(time, random)
    assert is_id(image_id)
    assert created_at(image_id) == EPOCH + time * MILLISECOND


@given(milliseconds, st.integers(0, 16**18 - 1), moments)
def test_first_id_at_parts_older_from_newer(time: int, random: int, moment: dt.datetime) -> None:
    """Ids made at the moment or later sort after the bound, older ones before it; whatever the zone."""
    image_id = id_at(time, random)
    assert (image_id >= first_id_at(moment)) == (created_at(image_id) >= moment)


@given(milliseconds, st.integers(-1_500, 1_500))
def test_first_id_at_near_the_moment(time: int, microseconds: int) -> None:
    """The same within a millisecond, where ids are coarser than moments."""
    try:
        moment = EPOCH + time * MILLISECOND + dt.timedelta(microseconds=microseconds)
    except OverflowError:
        return  # there is no such moment
    for random in (0, 16**18 - 1):
        assert (id_at(time, random) >= first_id_at(moment)) == (microseconds <= 0)


@pytest.mark.parametrize(
    ("moment", "older"),
    [
        ("0001-01-01T00:00:00+23:59", False),
        ("1969-12-31T23:59:59.999999+00:00", False),
        ("1970-01-01T00:00:00+00:00", False),
        ("9999-12-31T23:59:59.999999-23:59", True),
    ],
)
def test_first_id_at_the_ends_of_time(moment: str, older: bool) -> None:
    """Moments that no id can carry are bounds all the same, and none raises."""
    assert (new_id() < first_id_at(dt.datetime.fromisoformat(moment))) is older


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0198c0de-1111-4111-8111-111111111111",  # version 4
        "0198c0de-1111-7111-c111-111111111111",  # another variant
        "0198C0DE-1111-7111-8111-111111111111",
        "{0198c0de-1111-7111-8111-111111111111}",
        "0198c0de-1111-7111-8111-111111111111\n",
        "0198c0de-1111-7111-8111-11111111111",
        "0198c0de11117111811111111111111111",
        "٠198c0de-1111-7111-8111-111111111111",
        "../../../../../../etc/passwd",
    ],
)
def test_what_is_no_id(text: str) -> None:
    """One spelling only, since ids stand in object keys."""
    assert not is_id(text)
