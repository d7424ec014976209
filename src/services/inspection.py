"""Verification of uploads, on the threads for heavy work, so that decoding never holds up the event loop."""

import asyncio
from concurrent.futures import Executor

from ..common.errors import PayloadTooLarge
from ..common.payload import Payload
from ..imaging.inspect import Inspector
from ..models.image import Picture


class InspectionService:
    """Decides whether some bytes are a picture that this deployment accepts."""

    def __init__(self, *, max_size: int, inspector: Inspector, cpu: Executor) -> None:
        self._max_size = max_size
        self._inspector = inspector
        self._cpu = cpu

    async def inspect(self, payload: Payload) -> tuple[Picture, str]:
        """Return what the picture is, and the SHA-256 of its bytes in hex.

        Raises PayloadTooLarge, or what `Inspector.inspect` raises.
        """
        if payload.size > self._max_size:
            raise PayloadTooLarge(f"The file has {payload.size} bytes; at most {self._max_size} are accepted.")
        return await asyncio.get_running_loop().run_in_executor(self._cpu, self._inspect, payload)

    def _inspect(self, payload: Payload) -> tuple[Picture, str]:
        return self._inspector.inspect(payload), payload.sha256()
