"""DynamoDB tables for tests, and what is in them by AWS's own client."""

from typing import Any, NamedTuple

from pydynox import exceptions

from src.common.sigv4 import Credentials
from src.repositories.dynamodb_claims import DynamoDbClaimRepository
from src.repositories.dynamodb_client import Table, open_table
from src.repositories.dynamodb_images import DynamoDbImageRepository
from src.repositories.dynamodb_uploads import DynamoDbUploadRepository
from tests.support.aws_process import CREDENTIALS, REGION
from tests.support.emulator import Emulator
from tests.support.stores import Stores

type Item = dict[str, Any]


def by_key(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


class Place(NamedTuple):
    emulator: Emulator
    name: str

    def table(self, *, credentials: Credentials = CREDENTIALS) -> Table:
        return open_table(self.name, region=REGION, endpoint=self.emulator.url, credentials=lambda: credentials)

    def repository(self, *, credentials: Credentials = CREDENTIALS) -> DynamoDbImageRepository:
        return DynamoDbImageRepository(self.table(credentials=credentials))

    def contents(self) -> list[Item]:
        """Return every item as AWS spells it, by key."""
        pages = self.emulator.client("dynamodb").get_paginator("scan").paginate(TableName=self.name)
        return sorted((item for page in pages for item in page["Items"]), key=by_key)

    def items(self) -> list[Item]:
        """Return every item that is not a counter."""
        return [item for item in self.contents() if "images" not in item]


def stores_of(table: Table) -> Stores:
    return Stores(DynamoDbImageRepository(table), DynamoDbUploadRepository(table), DynamoDbClaimRepository(table))


class LosingClient:
    """A table's client whose answers to the first attempt of each transaction get lost, though it is done."""

    def __init__(self, table: Table, *, forgets: bool) -> None:
        """With `forgets`, DynamoDB does not know the repeated transaction again, as after ten minutes."""
        self._client = table._client()
        self._forgets = forgets
        self._seen: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def transact_write(self, operations: list[Any], *, client_request_token: str) -> None:
        if client_request_token in self._seen:
            token = client_request_token[::-1] if self._forgets else client_request_token
            await self._client.transact_write(operations, client_request_token=token)
        else:
            await self._client.transact_write(operations, client_request_token=client_request_token)
            self._seen.add(client_request_token)
            raise exceptions.ConnectionException("connection closed")
