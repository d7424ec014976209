"""Verification of uploads on threads of their own, so that decoding never holds up the event loop."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from ..common.errors import InvalidRequest, PayloadTooLarge
from ..common.payload import Payload
from ..imaging.inspect import Inspector
from ..models.image import Picture


class InspectionService:
    """Decides whether some bytes are a picture that this deployment accepts."""

    def __init__(self, *, max_size: int, max_pixels: int) -> None:
        self._max_size = max_size
        self._inspector = Inspector(max_pixels=max_pixels)
        # libvips lets go of the GIL; more threads than cores would only hold more pictures in memory.
        self._threads = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="inspect")

    async def inspect(self, payload: Payload) -> tuple[Picture, str]:
        """Return what the picture is, and the SHA-256 of its bytes in hex.

        Raises PayloadTooLarge, or what `Inspector.inspect` raises.
        """
        if payload.size > self._max_size:
            raise PayloadTooLarge(f"The file has {payload.size} bytes; at most {self._max_size} are accepted.")
        if payload.size == 0:
            raise InvalidRequest.field("file", "wants a picture, got an empty file")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._inspect, payload)

    def _inspect(self, payload: Payload) -> tuple[Picture, str]:
        return self._inspector.inspect(payload), payload.sha256()

    def close(self) -> None:
        self._threads.shutdown()
