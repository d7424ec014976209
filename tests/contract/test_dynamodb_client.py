"""What is said of a transaction whose answer was lost, by a client that plays a script."""

import asyncio
from typing import Any

import pytest
from pydynox import exceptions

from src.common.errors import OutcomeUnknown, StoreFailed, StoreUnavailable
from src.models.page import ImageQuery
from src.repositories import dynamodb_client
from src.repositories.dynamodb_client import ATTEMPTS, CROWDED_ATTEMPTS, ConditionFailed, Table
from src.repositories.dynamodb_images import DynamoDbImageRepository

pytestmark = pytest.mark.anyio

LOST = exceptions.ConnectionException("connection closed")
BROKEN = exceptions.PydynoxException("InternalServerError")
THROTTLED = exceptions.ProvisionedThroughputExceededException("slow down")
CONFLICT = exceptions.TransactionCanceledException("reasons [TransactionConflict, None]")
CONDITION = exceptions.TransactionCanceledException("reasons [ConditionalCheckFailed, None]")
DENIED = exceptions.AccessDeniedException("not yours")


class Script:
    """A client that answers as written, and keeps the tokens it was given."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.tokens: list[str] = []

    async def transact_write(self, operations: list[Any], *, client_request_token: str) -> None:
        self.tokens.append(client_request_token)
        if (answer := self._answers.pop(0)) is not None:
            raise answer

    async def get_item(self, *_: object, **__: object) -> dict[str, Any]:
        if (answer := self._answers.pop(0)) is not None:
            raise answer
        return {"pk": "found"}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_client, "PAUSE", 0.0)


@pytest.mark.parametrize(
    ("answers", "raised"),
    [
        ([LOST, LOST, LOST], OutcomeUnknown),
        ([LOST, THROTTLED, THROTTLED], OutcomeUnknown),
        ([BROKEN, CONFLICT, CONFLICT], OutcomeUnknown),
        ([BROKEN, DENIED], OutcomeUnknown),
        ([THROTTLED, CONFLICT, LOST], OutcomeUnknown),
        ([THROTTLED, THROTTLED, CONFLICT], StoreUnavailable),
        ([DENIED], StoreFailed),
        ([THROTTLED, DENIED], StoreFailed),
        ([CONDITION], ConditionFailed),
        ([CONFLICT, CONDITION], ConditionFailed),
    ],
    ids=str,
)
async def test_what_may_have_happened_is_never_called_undone(answers: list[Exception], raised: type[Exception]) -> None:
    """After one lost answer no later refusal proves anything: whoever cleans up must not trust it."""
    script = Script(*answers)
    with pytest.raises(raised) as caught:
        await Table(lambda: script, "table").write([])  # type: ignore[arg-type]
    assert type(caught.value) is raised
    assert len(script.tokens) == len(answers) <= ATTEMPTS


@pytest.mark.parametrize(
    ("answers", "raised"),
    [
        ([CONFLICT] * (CROWDED_ATTEMPTS - 1) + [None], None),
        ([CONFLICT] * CROWDED_ATTEMPTS, StoreUnavailable),
        ([CONFLICT] * (CROWDED_ATTEMPTS - 1) + [CONDITION], ConditionFailed),
        ([*[CONFLICT] * 9, LOST, CONFLICT, None], None),
        ([*[CONFLICT] * 9, LOST, CONFLICT, LOST], OutcomeUnknown),
        ([CONFLICT] * (CROWDED_ATTEMPTS - 2) + [LOST, CONFLICT], OutcomeUnknown),
        ([LOST, LOST, LOST], OutcomeUnknown),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, list) else str(value),
)
async def test_where_many_are_at_an_item(answers: list[Exception | None], raised: type[Exception] | None) -> None:
    """It is tried more often, until an answer is lost: of what may have happened it is soon told so."""
    script = Script(*answers)
    table = Table(lambda: script, "table")  # type: ignore[arg-type]
    if raised is None:
        await table.write([], attempts=CROWDED_ATTEMPTS)
    else:
        with pytest.raises(raised) as caught:
            await table.write([], attempts=CROWDED_ATTEMPTS)
        assert type(caught.value) is raised
    assert len(script.tokens) == len(answers)
    assert len(set(script.tokens)) == 1


@pytest.mark.parametrize("answers", [[LOST, None], [CONFLICT, LOST, None], [None]], ids=str)
async def test_attempts_are_one_transaction(answers: list[Exception | None]) -> None:
    """They carry one token, so DynamoDB does it once however often it is asked; the next has another."""
    script = Script(*answers, None)
    table = Table(lambda: script, "table")  # type: ignore[arg-type]
    await table.write([])
    assert len(set(script.tokens)) == 1
    await table.write([])
    assert len(set(script.tokens)) == 2


async def test_one_shard_that_fails_fails_the_page() -> None:
    """With its own error and its cause, which the log needs; the others are not left running."""
    running = 0

    class Shards(Table):
        async def between(self, pk: str, low: str, high: str, *, forward: bool, limit: int) -> Any:
            nonlocal running
            if pk == "all#2":
                raise StoreFailed("The database refused the request.") from DENIED
            running += 1
            try:
                await asyncio.sleep(10)
            finally:
                running -= 1

    repository = DynamoDbImageRepository(Shards(lambda: Script(), "table"))  # type: ignore[arg-type, return-value]
    with pytest.raises(StoreFailed) as caught:
        await repository.list(ImageQuery())
    assert caught.value.__cause__ is DENIED
    assert running == 0


async def test_a_read_is_repeated_and_never_in_doubt() -> None:
    key = {"pk": "a", "sk": "b"}
    script, hopeless = Script(LOST, THROTTLED, None), Script(LOST, LOST, LOST)
    assert await Table(lambda: script, "table").get(key)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable) as caught:
        await Table(lambda: hopeless, "table").get(key)  # type: ignore[arg-type]
    assert type(caught.value) is StoreUnavailable
