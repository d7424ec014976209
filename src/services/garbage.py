"""Objects that no record refers to."""

import logging

from ..repositories.ports import ObjectStore

log = logging.getLogger(__name__)


async def discard(objects: ObjectStore, key: str) -> None:
    """Delete an object, or all below a prefix with its slash. If that fails it is garbage, which reconcile removes."""
    try:
        await (objects.delete_below if key.endswith("/") else objects.delete)(key)
    except Exception:  # whatever it is, it must not hide what the caller has to say
        log.warning("an object without a record is left behind", extra={"key": key}, exc_info=True)
