"""What one caller may ask for at a time: buckets of requests, and slots of uploads."""

import asyncio
import math
import sys
from contextlib import ExitStack

import pytest

from src.common.errors import TooManyRequests, TooManyUploads
from src.handlers import rates
from src.handlers.rates import RequestRate, UploadSlots

pytestmark = pytest.mark.anyio


class Clock:
    """The time that buckets are filled by: it stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.is_wrong_by = 0  # seconds that the wall clock was put on or back

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("throttled.utils.now_sec", lambda: int(clock.now) + clock.is_wrong_by)
    monkeypatch.setattr("throttled.utils.now_mono_f", lambda: clock.now)
    return clock


async def admitted(rate: RequestRate, caller: str, most: int = 1_000) -> int:
    """Return how many requests a caller may make now, up to `most`."""
    for number in range(most):
        try:
            await rate.charge(caller)
        except TooManyRequests:
            return number
    return most


async def test_a_burst_and_no_more(clock: Clock) -> None:
    rate = RequestRate(2, 5)
    assert await admitted(rate, "ann") == 5
    with pytest.raises(TooManyRequests, match="2 requests a second"):
        await rate.charge("ann")


async def test_the_rate_in_the_long_run(clock: Clock) -> None:
    """Once the burst is used up, as many as it says; and whoever was silent has no more than the burst."""
    rate = RequestRate(3, 7)
    assert await admitted(rate, "ann") == 7
    found = []
    for _ in range(10):
        clock.sleep(1)
        found.append(await admitted(rate, "ann"))
    assert found == [3] * 10
    for silence in (2, 10, 1_000_000):
        clock.sleep(silence)
        assert await admitted(rate, "ann") == min(7, 3 * silence)


@pytest.mark.parametrize(("rate", "burst"), [(1, 1), (1, 200), (3, 1), (100, 200), (1_000_000, 1), (7, 1_000)])
async def test_retry_after_is_enough(rate: int, burst: int, clock: Clock) -> None:
    """Whoever waits for as long as it says is let in, at whatever part of a second; and that is no eternity."""
    buckets = RequestRate(rate, burst)
    for part in (0.0, 0.001, 0.5, 0.999):
        clock.now = math.ceil(clock.now) + part
        await admitted(buckets, "ann", burst + 1)
        with pytest.raises(TooManyRequests) as refused:
            await buckets.charge("ann")
        assert refused.value.retry_after == 1
        clock.sleep(refused.value.retry_after)
        await buckets.charge("ann")


async def test_being_refused_costs_nothing(clock: Clock) -> None:
    """Or a client that tries again too soon would never come in."""
    rate = RequestRate(1, 1)
    await rate.charge("ann")
    for _ in range(10):
        assert await admitted(rate, "ann") == 0
    clock.sleep(1)
    assert await admitted(rate, "ann") == 1


async def test_callers_have_nothing_to_do_with_each_other(clock: Clock) -> None:
    rate = RequestRate(1, 3)
    assert await admitted(rate, "user ann") == 3
    for other in ("user bob", "user Ann", "user ann ", "address ann", "user ann:1"):
        assert await admitted(rate, other) == 3
    assert await admitted(rate, "user ann") == 0


async def test_several_at_once(clock: Clock) -> None:
    rate = RequestRate(1, 10)
    answers = await asyncio.gather(*(rate.charge("ann") for _ in range(50)), return_exceptions=True)
    assert answers.count(None) == 10
    assert sum(isinstance(answer, TooManyRequests) for answer in answers) == 40


async def test_a_clock_that_is_put_back(clock: Clock) -> None:
    """It locks nobody out for longer than twice what a bucket takes to fill."""
    rate = RequestRate(1, 5)
    assert await admitted(rate, "ann") == 5
    clock.is_wrong_by = -3_600
    clock.sleep(2 * 5)
    assert await admitted(rate, "ann") == 5


async def test_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can come from many addresses. Who was silent for the longest is forgotten, not who is at it."""
    monkeypatch.setattr(rates, "MOST_CALLERS", 100)
    rate = RequestRate(1, 2)
    assert await admitted(rate, "busy") == 2
    for number in range(1_000):
        await rate.charge(f"address {number}")
        assert await admitted(rate, "busy") == 0
    backend = rate._buckets._store._backend  # type: ignore[union-attr]
    assert len(backend._client) == 100
    assert len(backend.expire_info) == 100
    assert sys.getsizeof(backend._client) < 100_000


# Uploads.


def under_way(slots: UploadSlots) -> dict[str, int]:
    return dict(slots._under_way)


def test_slots_are_taken_and_given_back() -> None:
    slots = UploadSlots(2)
    with slots.taken("ann"), slots.taken("ann"):
        with pytest.raises(TooManyUploads, match="2 uploads") as refused, slots.taken("ann"):
            pytest.fail("there were three")
        assert refused.value.retry_after == 1
        with slots.taken("bob"):
            assert under_way(slots) == {"ann": 2, "bob": 1}
    assert under_way(slots) == {}
    with slots.taken("ann"):
        pass


@pytest.mark.parametrize("error", [ValueError, TooManyUploads, KeyboardInterrupt, asyncio.CancelledError, SystemExit])
def test_slots_are_given_back_on_errors(error: type[BaseException]) -> None:
    slots = UploadSlots(1)
    for _ in range(3):
        with pytest.raises(error), slots.taken("ann"):
            raise error("x")
    assert under_way(slots) == {}


async def test_slots_are_given_back_on_cancellation() -> None:
    slots = UploadSlots(3)

    async def upload() -> None:
        with slots.taken("ann"):
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(upload()) for _ in range(5)]
    await asyncio.sleep(0)
    assert under_way(slots) == {"ann": 3}
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["CancelledError"] * 3 + ["TooManyUploads"] * 2
    assert under_way(slots) == {}


def test_slots_that_are_asked_for_and_not_taken() -> None:
    """Nothing is taken before the context begins; and who is refused leaves no trace, however many they are."""
    slots = UploadSlots(1)
    for _ in range(10):
        slots.taken("ann")
    assert under_way(slots) == {}
    with ExitStack() as stack:
        stack.enter_context(slots.taken("ann"))
        for _ in range(10):
            with pytest.raises(TooManyUploads):
                stack.enter_context(slots.taken("ann"))
        assert under_way(slots) == {"ann": 1}
    assert under_way(slots) == {}
