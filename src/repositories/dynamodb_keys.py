"""The key of links, where no configuration gives one: made once, and kept in the table."""

import secrets

from ..common.errors import StoreFailed
from .dynamodb_client import ConditionFailed, Table

KEY = {"pk": "keys", "sk": "url_signing"}
LENGTH = 32  # random bytes, and so more characters


class StoredKeys:
    """Call it for the keys; they are read when they are first needed, and then kept."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._keys: tuple[str, ...] = ()

    async def __call__(self) -> tuple[str, ...]:
        """Raise StoreError if the key can be neither read nor made."""
        if not self._keys:
            self._keys = (await self._read() or await self._make(),)
        return self._keys

    async def _read(self) -> str | None:
        item = await self._table.get(KEY)
        return str(item["key"]) if item else None

    async def _make(self) -> str:
        key = secrets.token_urlsafe(LENGTH)
        try:
            await self._table.write([self._table.put({**KEY, "key": key}, "attribute_not_exists(pk)")])
        except ConditionFailed as error:  # somebody else has just made one
            if other := await self._read():
                return other
            raise StoreFailed("The key of links is neither there nor can it be made.") from error
        return key
