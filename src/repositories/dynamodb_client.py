"""One DynamoDB table through pydynox: the calls that are needed, and its errors in our words."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydynox import DynamoDBClient, exceptions

from ..common.errors import OutcomeUnknown, StoreError, StoreFailed, StoreUnavailable
from ..common.sigv4 import Credentials
from ..common.validation import LAST_CHARACTER
from .aws_credentials import CredentialSource
from .dynamodb_items import Item, Key

CONNECT_TIMEOUT = 1.0  # seconds
READ_TIMEOUT = 2.0  # seconds: DynamoDB answers in milliseconds, or not at all

# The SDK would tell of its last attempt only, and so hide that an earlier one may have succeeded: it makes one, and
# the further ones are made here.
SDK_ATTEMPTS = 1
ATTEMPTS = 3
# Where many write to one item at once, DynamoDB refuses all but one. Of twenty whose transactions take a tenth of a
# second each, all succeed with fewer attempts than these.
CROWDED_ATTEMPTS = 16
SCAN_PAGE = 500  # items, of some 300 bytes each

PAUSE = 0.05  # seconds, about, and longer each time

_REFUSALS = (
    exceptions.AccessDeniedException,
    exceptions.CredentialsException,
    exceptions.ResourceNotFoundException,
    exceptions.SerializationException,
    exceptions.ValidationException,
)


class ConditionFailed(Exception):
    """A condition of the transaction did not hold, so nothing of it was written."""


class _Busy(Exception):
    """Nothing happened, and another attempt may succeed."""


class _NoAnswer(Exception):
    """It may have happened or not."""


class Table:
    """A table with `pk` and `sk`, both text. Reads are strongly consistent, writes are transactions."""

    def __init__(self, client: Callable[[], DynamoDBClient], name: str) -> None:
        """Use what `client()` returns for each request."""
        self._client = client
        self._name = name

    async def get(self, key: Key) -> Item | None:
        item: Item | None = await _repeated(
            lambda: self._client().get_item(self._name, dict(key), consistent_read=True), in_doubt=StoreUnavailable
        )
        return item

    async def between(self, pk: str, low: str, high: str, *, forward: bool, limit: int) -> tuple[list[Item], bool]:
        """Return up to `limit` items of a partition with low <= sk <= high, and whether there may be more."""

        async def query() -> tuple[list[Item], bool]:
            result = self._client().query(
                self._name,
                "pk = :pk AND sk BETWEEN :low AND :high",
                expression_attribute_values={":pk": pk, ":low": low, ":high": high},
                limit=limit,
                page_size=limit,
                scan_index_forward=forward,
                consistent_read=True,
            )
            items = await result.to_list()
            # pydynox cuts what it read to the limit, and its key then is that of what it read.
            return items, len(items) == limit or result.last_evaluated_key is not None

        return await _repeated(query, in_doubt=StoreUnavailable)

    async def partition(self, pk: str) -> AsyncIterator[Item]:
        """Yield every item of a partition, by `sk`."""
        low, more = "\0", True
        while more:
            items, more = await self.between(pk, low, LAST_CHARACTER, forward=True, limit=SCAN_PAGE)
            for item in items:
                yield item
            low = f"{items[-1]['sk']}\0" if items else low

    async def scan(self) -> AsyncIterator[Item]:
        """Yield every item of the table, in no order."""
        start: Key | None = None

        async def page() -> list[Item]:
            result = self._client().scan(
                self._name, limit=SCAN_PAGE, page_size=SCAN_PAGE, last_evaluated_key=start, consistent_read=True
            )
            return await result.to_list()

        while items := await _repeated(page, in_doubt=StoreUnavailable):
            for item in items:
                yield item
            start = {"pk": items[-1]["pk"], "sk": items[-1]["sk"]}

    async def increase(self, key: Key, amounts: Mapping[str, int]) -> dict[str, int]:
        """Add to numbers of an item, which is made if need be, and return them.

        Without an answer it is not repeated: to add twice would be as wrong as not at all.
        """

        async def add() -> Any:
            try:
                return await _answered(
                    self._client().update_item(
                        self._name,
                        dict(key),
                        update_expression="ADD " + ", ".join(f"#{name} :{name}" for name in amounts),
                        expression_attribute_names={f"#{name}": name for name in amounts},
                        expression_attribute_values={f":{name}": amount for name, amount in amounts.items()},
                        return_values="UPDATED_NEW",
                    )
                )
            except _NoAnswer as error:
                raise OutcomeUnknown("The database did not say whether it counted.") from error

        numbers = await _repeated(add, in_doubt=OutcomeUnknown)
        return {name: int(number) for name, number in numbers.items()}

    async def delete_empty(self, key: Key, name: str) -> None:
        """Delete an item if its number is nothing, or less."""
        await self.write([self.delete(key, f"{name} <= :none", {":none": 0})])

    def put(self, item: Item, condition: str | None = None, values: Item | None = None) -> Item:
        return self._operation("put", {"item": item}, condition, values)

    def delete(self, key: Key, condition: str | None = None, values: Item | None = None) -> Item:
        return self._operation("delete", {"key": key}, condition, values)

    def check(self, key: Key, condition: str, values: Item | None = None) -> Item:
        """Return the operation that only makes the transaction depend on an item."""
        return self._operation("condition_check", {"key": key}, condition, values)

    def update(self, key: Key, expression: str, condition: str, values: Item) -> Item:
        return self._operation("update", {"key": key, "update_expression": expression}, condition, values)

    def _operation(self, kind: str, what: Item, condition: str | None, values: Item | None) -> Item:
        operation: dict[str, Any] = {"type": kind, "table": self._name, **what}
        if condition is not None:
            operation["condition_expression"] = condition
        if values is not None:
            operation["expression_attribute_values"] = values
        return operation

    async def write(self, operations: Sequence[Item], *, attempts: int = ATTEMPTS) -> None:
        """Do all of it or nothing; while others are at the same items, try so often. Raises ConditionFailed."""
        # With the same token DynamoDB does a transaction once, however often it is asked (for ten minutes).
        token = uuid.uuid4().hex
        await _repeated(
            lambda: self._client().transact_write(list(operations), client_request_token=token),
            in_doubt=OutcomeUnknown,
            attempts=attempts,
        )


def open_table(name: str, *, region: str, endpoint: str | None, credentials: CredentialSource) -> Table:
    """Reach a table at AWS or at `endpoint`."""

    def connect(current: Credentials) -> DynamoDBClient:
        return DynamoDBClient(
            region=region,
            endpoint_url=endpoint,
            access_key=current.access_key_id,
            secret_key=current.secret_access_key,
            session_token=current.session_token,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            max_retries=SDK_ATTEMPTS,
        )

    return Table(_Renewed(credentials, connect), name)


class _Renewed:
    """The client with the credentials of the moment: one takes them when it is made."""

    def __init__(self, credentials: CredentialSource, connect: Callable[[Credentials], DynamoDBClient]) -> None:
        self._credentials = credentials
        self._connect = connect
        self._current = credentials()
        self._client = connect(self._current)

    def __call__(self) -> DynamoDBClient:
        if (current := self._credentials()) != self._current:
            self._client, self._current = self._connect(current), current
        return self._client


async def _repeated[T](
    call: Callable[[], Awaitable[T]], *, in_doubt: type[StoreUnavailable], attempts: int = ATTEMPTS
) -> T:
    """Call until it succeeds or is refused, a few times at the most.

    Once an attempt got no answer, no later error says any more that nothing happened: then `in_doubt` is raised.
    """
    doubtful = False
    last: Exception | None = None
    left, pauses = attempts, 0
    while left:
        left -= 1
        if last:
            pauses += 1
            await asyncio.sleep(pauses * PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        try:
            return await _answered(call())
        except _NoAnswer as error:
            if not doubtful:  # an audit waits for what may have happened, and counts on it to be told soon
                left, pauses = min(left, ATTEMPTS - 1), 0
            doubtful, last = True, error
        except _Busy as error:
            last = error
        except StoreError as error:
            if doubtful:
                raise in_doubt("The database does not answer.") from error
            raise
    if doubtful:
        raise in_doubt("The database does not answer.") from last
    raise StoreUnavailable("The database is busy.") from last


async def _answered[T](call: Awaitable[T]) -> T:
    """Raise ConditionFailed, StoreFailed, _Busy or _NoAnswer for pydynox's errors."""
    try:
        return await call
    except exceptions.TransactionCanceledException as error:
        # The reasons, one an operation, are only in the message: pydynox 1.8 gives them nowhere else.
        reasons = str(error)
        if "ConditionalCheckFailed" in reasons:
            raise ConditionFailed from error
        if any(reason in reasons for reason in ("Conflict", "Throttl", "ProvisionedThroughputExceeded")):
            raise _Busy from error
        raise StoreFailed("The database refused the transaction.") from error
    except exceptions.ProvisionedThroughputExceededException as error:
        raise _Busy from error
    except _REFUSALS as error:
        raise StoreFailed("The database refused the request.") from error
    except exceptions.PydynoxException as error:
        raise _NoAnswer from error
