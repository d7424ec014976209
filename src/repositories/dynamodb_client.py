"""One DynamoDB table through pydynox: the calls that are needed, and its errors in our words."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydynox import DynamoDBClient, exceptions

from ..common.errors import OutcomeUnknown, StoreFailed, StoreUnavailable
from ..common.sigv4 import Credentials
from .dynamodb_items import Item, Key

CONNECT_TIMEOUT = 1.0  # seconds
READ_TIMEOUT = 3.0  # seconds: DynamoDB answers in milliseconds, or not at all
MAX_RETRIES = 2  # by the SDK, with jitter; a transaction keeps its idempotency token

CONFLICT_RETRIES = 5
CONFLICT_PAUSE = 0.05  # seconds, about, and longer each time


class ConditionFailed(Exception):
    """A condition of the transaction did not hold, so nothing of it was written."""


class Table:
    """A table with `pk` and `sk`, both text. Reads are strongly consistent, writes are transactions."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        self._client = client
        self._name = name

    async def get(self, key: Key) -> Item | None:
        with _translated(StoreUnavailable):
            item: Item | None = await self._client.get_item(self._name, dict(key), consistent_read=True)
        return item

    async def between(self, pk: str, low: str, high: str, *, forward: bool, limit: int) -> tuple[list[Item], bool]:
        """Return up to `limit` items of a partition with low <= sk <= high, and whether there may be more."""
        with _translated(StoreUnavailable):
            result = self._client.query(
                self._name,
                "pk = :pk AND sk BETWEEN :low AND :high",
                expression_attribute_values={":pk": pk, ":low": low, ":high": high},
                limit=limit,
                page_size=limit,
                scan_index_forward=forward,
                consistent_read=True,
            )
            return await result.to_list(), result.last_evaluated_key is not None

    def put(self, item: Item, condition: str | None = None) -> Item:
        return self._operation("put", {"item": item}, condition)

    def delete(self, key: Key, condition: str | None = None) -> Item:
        return self._operation("delete", {"key": key}, condition)

    def _operation(self, kind: str, what: Item, condition: str | None) -> Item:
        operation: dict[str, Any] = {"type": kind, "table": self._name, **what}
        if condition is not None:
            operation["condition_expression"] = condition
        return operation

    async def write(self, operations: Sequence[Item]) -> None:
        """Do all of it or nothing. Raises ConditionFailed."""
        for attempt in range(1, CONFLICT_RETRIES + 1):
            try:
                with _translated(OutcomeUnknown):
                    await self._client.transact_write(list(operations))
                break
            except _Conflict as error:
                if attempt == CONFLICT_RETRIES:
                    raise StoreUnavailable("The database is busy with the same items.") from error
                await asyncio.sleep(attempt * CONFLICT_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


def open_table(name: str, *, region: str, endpoint: str | None, credentials: Credentials | None) -> Table:
    """Reach a table at AWS or at `endpoint`; without credentials, as the AWS SDK finds them."""
    client = DynamoDBClient(
        region=region,
        endpoint_url=endpoint,
        access_key=credentials.access_key_id if credentials else None,
        secret_key=credentials.secret_access_key if credentials else None,
        session_token=credentials.session_token if credentials else None,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_retries=MAX_RETRIES,
    )
    return Table(client, name)


class _Conflict(Exception):
    """Another transaction was at the same items; nothing was written."""


@contextmanager
def _translated(no_answer: type[StoreUnavailable]) -> Iterator[None]:
    """Raise our error for pydynox's; `no_answer` when it is not known what became of the request."""
    try:
        yield
    except exceptions.TransactionCanceledException as error:
        # The reasons, one an operation, are only in the message: pydynox 1.8 gives them nowhere else.
        if "ConditionalCheckFailed" in str(error):
            raise ConditionFailed from error
        if "TransactionConflict" in str(error):
            raise _Conflict from error
        if "Throttl" in str(error) or "ProvisionedThroughputExceeded" in str(error):
            raise StoreUnavailable("The database is busy.") from error
        raise StoreFailed("The database refused the transaction.") from error
    except exceptions.ProvisionedThroughputExceededException as error:
        raise StoreUnavailable("The database is busy.") from error
    except (
        exceptions.AccessDeniedException,
        exceptions.CredentialsException,
        exceptions.ResourceNotFoundException,
        exceptions.SerializationException,
        exceptions.ValidationException,
    ) as error:
        raise StoreFailed("The database refused the request.") from error
    except exceptions.PydynoxException as error:
        raise no_answer("The database does not answer.") from error
