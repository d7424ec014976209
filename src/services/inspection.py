"""Verification of uploads, on the threads for heavy work, so that decoding never holds up the event loop."""

import asyncio
from concurrent.futures import Executor
from functools import cached_property
from typing import TYPE_CHECKING

from ..common.errors import PayloadTooLarge
from ..common.payload import Payload
from ..common.tracing import NO_TRACING, Tracing
from ..imaging.memory import MemoryBudget
from ..models.image import Picture

if TYPE_CHECKING:
    from ..imaging.inspect import Inspector


class InspectionService:
    """Decides whether some bytes are a picture that this deployment accepts."""

    def __init__(
        self,
        *,
        max_size: int,
        max_pixels: int,
        memory: MemoryBudget,
        cpu: Executor,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._max_size = max_size
        self._max_pixels = max_pixels
        self._memory = memory
        self._cpu = cpu
        self._tracing = tracing

    async def inspect(self, payload: Payload) -> tuple[Picture, str]:
        """Return what the picture is, and the SHA-256 of its bytes in hex.

        Raises PayloadTooLarge, or what `Inspector.inspect` raises.
        """
        if payload.size > self._max_size:
            raise PayloadTooLarge(f"The file has {payload.size} bytes; at most {self._max_size} are accepted.")
        with self._tracing.current("verify picture"):
            return await asyncio.get_running_loop().run_in_executor(self._cpu, self._inspect, payload)

    @cached_property
    def _inspector(self) -> "Inspector":
        # Here, since a cold start that is for a list need not load libvips.
        from ..imaging.inspect import Inspector

        return Inspector(max_pixels=self._max_pixels, memory=self._memory)

    def _inspect(self, payload: Payload) -> tuple[Picture, str]:
        return self._inspector.inspect(payload), payload.sha256()
