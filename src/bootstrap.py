"""Settings -> Services: the only place that picks a home and builds collaborators."""

import hashlib
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import msgspec

from .common.config import Settings
from .common.durable import sync
from .common.errors import ConfigurationError
from .common.sigv4 import Credentials
from .repositories.key_file import load_or_create_key
from .repositories.object_store import LocalObjectStore
from .repositories.ports import ImageRepository, ObjectStore
from .repositories.sqlite_images import SqliteImageRepository
from .services.image_service import ImageService
from .services.inspection import InspectionService
from .services.link_service import LinkService


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a request may call. Whoever built it closes it."""

    settings: Settings
    images: ImageService
    links: LinkService
    repository: ImageRepository
    objects: ObjectStore
    cpu: Executor

    async def close(self) -> None:
        self.cpu.shutdown()
        await self.repository.close()


def build_services(settings: Settings) -> Services:
    """Open the stores. Raises ConfigurationError if they can't be."""
    try:
        return _build_local(settings)
    except OSError as error:
        raise ConfigurationError(
            f"DATA_DIR: got {str(settings.data_dir)!r}, wants a directory that can be written to ({error})"
        ) from error


def _build_local(settings: Settings) -> Services:
    # Absolute, since a library that keeps a relative path would follow a later change of directory.
    directory = settings.data_dir.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    keys = settings.url_signing_keys or (load_or_create_key(directory / "url_signing_key"),)
    repository = SqliteImageRepository(directory / "images.sqlite3")
    objects = LocalObjectStore(_made(directory / "objects"))
    sync(directory)
    sync(directory.parent)
    # libvips lets go of the GIL; more threads than cores would only hold more pictures in memory.
    cpu = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="cpu")
    inspection = InspectionService(max_size=settings.max_image_size, max_pixels=settings.max_image_pixels, cpu=cpu)
    return Services(
        settings=settings,
        images=ImageService(repository=repository, objects=objects, inspection=inspection),
        links=LinkService(
            keyring=tuple(_credentials(key) for key in keys),
            region=settings.region,
            default_life=settings.presigned_url_expiration,
            public_endpoint=settings.public_endpoint,
        ),
        repository=repository,
        objects=objects,
        cpu=cpu,
    )


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


def _credentials(key: str) -> Credentials:
    # The access key id stands in every URL: it tells which key signed, and nothing else about it.
    return Credentials(hashlib.sha256(f"access key id {key}".encode()).hexdigest()[:20], key)
