"""Renditions: made once, when first asked for, and stored beside the original.

A rendition exists while its image's record does. It is stored before the record is looked at once more, and a delete
removes the record before it looks for renditions: whichever comes last sees the other.
"""

import asyncio
import logging
import os
from concurrent.futures import Executor
from contextlib import closing

from ..common.errors import (
    ImageNotFound,
    InvalidRequest,
    ObjectNotFound,
    Overloaded,
    StoreFailed,
    TooManyRenditions,
    UndecodableImage,
)
from ..common.metrics import RENDITIONS, RENDITIONS_RUNNING, RENDITIONS_WAITING, outcome_of, raised
from ..common.payload import Payload
from ..common.telemetry import SILENT, Telemetry
from ..imaging.memory import MemoryBudget
from ..models.image import Image, original_key
from ..models.rendition import (
    MOST_RENDITION_BYTES,
    MOST_RENDITIONS,
    Rendition,
    RenditionRequest,
    rendition_key,
    renditions_prefix,
)
from ..repositories.ports import ImageRepository, ObjectStore
from .garbage import discard
from .rendition_plan import plan

log = logging.getLogger(__name__)

WAITING_PER_CORE = 32  # renditions; a queue that is longer would outlast those who wait in it
PATIENCE = 20  # seconds that a request waits for its rendition, which is made all the same


class RenditionService:
    def __init__(
        self,
        *,
        repository: ImageRepository,
        objects: ObjectStore,
        cpu: Executor,
        memory: MemoryBudget,
        max_pixels: int,
        most_waiting: int = WAITING_PER_CORE * (os.cpu_count() or 1),
        patience: float = PATIENCE,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._repository = repository
        self._objects = objects
        self._cpu = cpu
        self._memory = memory
        self._max_pixels = max_pixels
        self._most_waiting = most_waiting
        self._patience = patience
        self._telemetry = telemetry
        self._running: dict[str, asyncio.Task[None]] = {}
        self._waiting = 0
        self._at_once = asyncio.Semaphore(os.cpu_count() or 1)

    async def ensure(self, image: Image, request: RenditionRequest) -> str:
        """Return the object key of a rendition, made first if need be; of requests at once, one makes it.

        Raises InvalidRequest if it would be too large, TooManyRenditions, Overloaded, ImageNotFound if the image is
        deleted meanwhile.
        """
        rendition = plan(image, request)
        if rendition.pixels > self._max_pixels:
            wanted = f"wants a size at which all frames have at most {self._max_pixels} pixels, got {rendition.pixels}"
            raise InvalidRequest.field("width" if request.width or not request.height else "height", wanted)
        key = rendition_key(image.image_id, rendition)
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._make_if_missing(key, image, rendition))
            task.add_done_callback(lambda done: self._finished(key, done))
        # This does not cancel it if whoever asked goes away: others may wait for it, too.
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if not done:
            raise Overloaded("The rendition is still being made.")
        task.result()
        return key

    async def close(self) -> None:
        """Give up what is being made."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _finished(self, key: str, task: asyncio.Task[None]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # was for whoever waited; if nobody did any more, it is no news

    async def _make_if_missing(self, key: str, image: Image, rendition: Rendition) -> None:
        try:
            await self._objects.head(key)
        except ObjectNotFound:
            error: BaseException | None = None
            try:
                await self._make_in_turn(key, image, rendition)
            except BaseException as failure:
                error = failure
                raise
            finally:
                self._telemetry.metrics.count(RENDITIONS, (outcome_of(error),))

    async def _make_in_turn(self, key: str, image: Image, rendition: Rendition) -> None:
        """Raise Overloaded if too many are waiting already."""
        if self._waiting >= self._most_waiting:
            raise Overloaded(f"{self._waiting} renditions are waiting to be made.") from None
        metrics, tracing = self._telemetry.metrics, self._telemetry.tracing
        self._waiting += 1
        try:
            with raised(metrics, RENDITIONS_WAITING):
                # As many as there are threads: an upload to be verified must not wait behind all of them.
                await self._at_once.acquire()
            try:
                with raised(metrics, RENDITIONS_RUNNING), tracing.current("make rendition"):
                    await self._check_room(image)
                    await self._make(key, image, rendition)
            finally:
                self._at_once.release()
        finally:
            self._waiting -= 1

    async def _check_room(self, image: Image) -> None:
        """Raise TooManyRenditions if no more are kept. Some that are made at the same time may come in besides."""
        count = total = 0
        async for rendition in self._objects.list(renditions_prefix(image.image_id)):
            count += 1
            total += rendition.size
        if count >= MOST_RENDITIONS or total >= MOST_RENDITION_BYTES:
            raise TooManyRenditions(f"The image has {count} renditions of {total} bytes already.")

    async def _make(self, key: str, image: Image, rendition: Rendition) -> None:
        try:
            original = await self._objects.fetch(original_key(image.image_id, image.content_type))
        except ObjectNotFound as error:
            await self._check_record(image)
            raise StoreFailed("The bytes of the image are missing.") from error
        with closing(original):
            loop = asyncio.get_running_loop()
            try:
                made = await loop.run_in_executor(self._cpu, self._render, original, image, rendition)
            except UndecodableImage as error:
                raise StoreFailed("The bytes of the image are damaged.") from error
        try:
            with closing(made):
                await self._objects.put(key, made, content_type=rendition.content_type, durable=False)
        finally:
            await self._keep_while_image_exists(key, image)
        log.info("rendition made", extra={"image_id": image.image_id, "size": made.size})

    async def _keep_while_image_exists(self, key: str, image: Image) -> None:
        """Take away what was (or may have been) stored after a delete, or when nobody can tell if there was one."""
        try:
            await self._check_record(image)
        except ImageNotFound:
            await discard(self._objects, renditions_prefix(image.image_id))
            raise
        except Exception:
            await discard(self._objects, key)
            raise

    def _render(self, original: Payload, image: Image, rendition: Rendition) -> Payload:
        # Here, since a cold start that is for a list need not load libvips.
        from ..imaging.render import memory_of, render

        pixels = image.width * image.height * image.frames
        longest_edge = max(image.width, image.height)
        with self._memory.reserved(memory_of(image.content_type, pixels, longest_edge, rendition)):
            return Payload.of(render(original, image.content_type, rendition))

    async def _check_record(self, image: Image) -> None:
        current = await self._repository.get(image.image_id)
        if current is None or current.sha256 != image.sha256:  # deleted, and another one restored under its id
            raise ImageNotFound(image.image_id)
