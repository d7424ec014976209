"""The public keys of an OpenID Connect provider, from its JWKS document (RFC 7517)."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWKClient

from ..common.errors import KeysUnavailable
from ..common.tokens import PUBLIC_ALGORITHMS

log = logging.getLogger(__name__)

FRESH = 300  # seconds that keys are used before the provider is asked again
KEPT = 24 * 3_600  # seconds that they are used while it does not answer
COOLDOWN = KeysUnavailable.retry_after  # seconds between two questions: anybody can make up a key id
TIMEOUT = 5  # seconds


class JwksKeys:
    """Asks the provider when keys are first needed, when they are old, and for a key id that is not among them."""

    def __init__(self, url: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._client = PyJWKClient(url, cache_jwk_set=False, timeout=TIMEOUT)
        # Its own: one that never comes back must not take a thread from anybody else.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jwks")
        self._now = now
        self._lock = asyncio.Lock()
        self._keys: Mapping[str | None, PyJWK] = {}
        self._fetched_at = self._asked_at = -float("inf")

    async def find(self, key_id: str | None) -> PyJWK | None:
        """Return the key, or without an id the only one; None if there is none. Raises KeysUnavailable."""
        if self._is_due(key_id) and not (self._find(key_id) and self._lock.locked()):
            async with self._lock:
                if self._is_due(key_id):  # nobody has asked meanwhile
                    await self._refresh()
        if self._now() - self._fetched_at > KEPT:
            raise KeysUnavailable("The keys that tokens are verified with can't be had from their issuer.")
        return self._find(key_id)

    async def are_there(self) -> bool:
        """Ask the issuer, and tell whether it has a key that can be used."""
        await self._refresh()
        return bool(self._keys)

    def _find(self, key_id: str | None) -> PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _is_due(self, key_id: str | None) -> bool:
        now = self._now()
        is_old = now - self._fetched_at > FRESH
        return (is_old or self._find(key_id) is None) and now - self._asked_at > COOLDOWN

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(2 * TIMEOUT):  # the client's own is for each step
                document = await asyncio.get_running_loop().run_in_executor(self._thread, self._client.fetch_data)
            self._keys = _usable(document)
            self._fetched_at = self._now()
        except Exception:  # the client lets through whatever a document that is none makes Python raise
            log.warning("the issuer's keys could not be read", exc_info=True)
        finally:
            # Not before: meanwhile others are to wait for the answer, and not go without.
            self._asked_at = self._now()


def _usable(document: Mapping[str, Any]) -> Mapping[str | None, PyJWK]:
    """Return the keys that tokens may be signed with; of what is none, or not for us, nothing is said.

    If there are none at all then all have been withdrawn. Raises TypeError or KeyError for what is no JWKS.
    """
    entries = document["keys"]
    if not isinstance(entries, list):
        raise TypeError("wants a list of keys")
    keys = {key.key_id: key for entry in entries if (key := _usable_key(entry))}
    if not keys:
        log.warning("the issuer has no key that can be used: wants %s", " or ".join(PUBLIC_ALGORITHMS))
    return keys


def _usable_key(entry: Any) -> PyJWK | None:
    try:
        key = PyJWK(entry)
    except Exception:
        return None
    is_usable = (
        isinstance(key.key, RSAPublicKey | EllipticCurvePublicKey)  # and not the private one
        and isinstance(key.key_id, str | None)
        and key.public_key_use in (None, "sig")
        and key.algorithm_name in PUBLIC_ALGORITHMS
    )
    return key if is_usable else None
