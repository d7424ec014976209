"""A service with renditions on real stores that fail or wait when a test says so, by HTTP and by hand."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from src.bootstrap import Services, build_services
from src.common.config import Settings
from src.handlers.app import create_app
from src.imaging import render as imaging
from src.imaging.memory import MemoryBudget
from src.models.image import Image
from src.models.rendition import RenditionRequest
from src.services.image_service import ImageService
from src.services.rendition_service import RenditionService
from tests.support.api import uploaded
from tests.support.faults import Fault, Faulty, When
from tests.support.pictures import picture

SIZE = RenditionRequest(width=16, format="webp")
SAME_SIZE = {"width": "16", "format": "webp"}


class Pause(Fault):
    """Calls wait, once they are here, until `go_on` is set."""

    def __init__(self, when: When) -> None:
        super().__init__(when)
        self.go_on = asyncio.Event()

    async def strike(self) -> None:
        self.reached.set()
        await self.go_on.wait()


class RenderPause:
    """Rendering waits, once it is here, until `go_on` is set. It also counts what is rendered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.go_on = threading.Event()
        self.count = 0
        loop, render = asyncio.get_running_loop(), imaging.render

        def wait_and_render(*arguments: Any) -> bytes:
            self.count += 1
            loop.call_soon_threadsafe(self.reached.set)
            assert self.go_on.wait(20)
            return render(*arguments)

        monkeypatch.setattr(imaging, "render", wait_and_render)


class Home:
    """The application, its services, and the stores that are below them."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        built = build_services(settings)
        self.files = settings.data_dir / "objects"
        self.calls: list[str] = []
        self.records = Faulty(built.repository, self.calls)
        self.objects = Faulty(built.objects, self.calls)
        stores: Any = {"repository": self.records, "objects": self.objects}
        self.renditions = RenditionService(
            **stores,
            cpu=built.cpu,
            memory=MemoryBudget.for_pictures(settings.max_image_pixels),
            max_pixels=settings.max_image_pixels,
            **options,
        )
        images = ImageService(**stores, inspection=built.images._inspection, room=built.images._room)
        self.services: Services = msgspec.structs.replace(built, renditions=self.renditions, images=images)
        self.app = create_app(self.services)
        transport = httpx.ASGITransport(self.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://testserver")

    async def upload(self, data: bytes | None = None) -> Image:
        image = await uploaded(self.client, picture("png") if data is None else data)
        record = await self.services.images.get(image["image_id"], owner=None)
        self.calls.clear()
        return record

    async def ask(self, image: Image, **params: str) -> httpx.Response:
        return await self.client.get(f"/images/{image.image_id}/content", params=params or SAME_SIZE)

    async def follow(self, image: Image, **params: str) -> bytes:
        """Ask for a rendition, which there must be, and return its bytes."""
        answer = await self.ask(image, **params)
        assert answer.status_code == 302, answer.text
        served = await self.client.get(answer.headers["location"])
        assert served.status_code == 200, served.text
        return served.content

    def stored(self, below: str = "") -> list[str]:
        """Return the keys of all files, temporary ones too."""
        paths = (path for path in (self.files / below).rglob("*") if path.is_file())
        return sorted(path.relative_to(self.files).as_posix() for path in paths)

    def heal(self) -> None:
        self.records.faults.clear()
        self.objects.faults.clear()


@asynccontextmanager
async def home_of(directory: Path, **options: Any) -> AsyncIterator[Home]:
    home = Home(Settings.from_environment({"DATA_DIR": str(directory)}), **options)
    async with home.client:
        yield home
        home.heal()
        await asyncio.wait_for(home.services.close(), 10)
