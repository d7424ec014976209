"""What a process tells of itself besides its log."""

import asyncio
from typing import Protocol

import msgspec

from .metrics import NO_METRICS, Metrics
from .tracing import NO_TRACING, Tracing


class Exposition(Protocol):
    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in a format that an Accept header names, and its media type.

        Raises StoreUnavailable if those of other processes can't be had.
        """
        ...


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """Without an `exposition` nobody can ask for the metrics."""

    metrics: Metrics = NO_METRICS
    tracing: Tracing = NO_TRACING
    exposition: Exposition | None = None

    async def close(self) -> None:
        """Hand over what is not handed over yet; it may take seconds."""
        try:
            self.metrics.close()
        finally:
            if self.tracing.is_on:
                await asyncio.to_thread(self.tracing.close)


SILENT = Telemetry()
