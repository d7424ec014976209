"""Settings -> Services: the only place that picks a home and builds collaborators."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from .common.config import Settings
from .common.durable import sync
from .common.errors import ConfigurationError
from .common.sigv4 import Credentials
from .common.telemetry import SILENT, Telemetry
from .imaging.memory import MemoryBudget
from .models.usage import Quota
from .repositories.aws_credentials import CredentialSource, provider_chain
from .repositories.ports import Audit, ClaimRepository, ImageRepository, ObjectStore, UploadRepository
from .repositories.watched import watched
from .services.access import Authentication, OpenAccess
from .services.content_links import ContentLinks, KeySource
from .services.housekeeping import Housekeeper
from .services.idempotency import IdempotencyService
from .services.image_service import ImageService
from .services.inspection import InspectionService
from .services.link_service import LinkService
from .services.reconciler import Reconciler
from .services.rendition_service import RenditionService
from .services.room import Room
from .services.upload_service import UploadService

NICENESS = 10  # of the threads that decode and encode
DATABASE = "images.sqlite3"  # below DATA_DIR
LOCALSTACK = "http://localhost:4566"
LOCALSTACK_CREDENTIALS = Credentials("test", "test")


class Repositories(NamedTuple):
    images: ImageRepository
    uploads: UploadRepository
    claims: ClaimRepository
    audit: Audit


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a request may call. Whoever built it closes it, and with it the telemetry that it was given."""

    settings: Settings
    telemetry: Telemetry
    authentication: Authentication
    images: ImageService
    uploads: UploadService
    idempotency: IdempotencyService
    housekeeper: Housekeeper
    reconciler: Reconciler
    links: LinkService
    contents: ContentLinks
    renditions: RenditionService
    repository: ImageRepository
    claims: ClaimRepository
    objects: ObjectStore
    cpu: Executor

    async def close(self) -> None:
        try:
            await self.renditions.close()
            self.cpu.shutdown(cancel_futures=True)
            await self.repository.close()
        finally:
            await self.telemetry.close()


def build_services(settings: Settings, telemetry: Telemetry = SILENT) -> Services:
    """Open the stores. Raises ConfigurationError if they can't be."""
    return (_build_aws if settings.storage == "aws" else _build_local)(settings, telemetry)


# Each home imports its own adapters: the other's would take as long again to load.


def _build_local(settings: Settings, telemetry: Telemetry) -> Services:
    from .repositories.key_file import load_or_create_key
    from .repositories.local_objects import LocalObjectStore
    from .repositories.sqlite_audit import SqliteAudit
    from .repositories.sqlite_claims import SqliteClaimRepository
    from .repositories.sqlite_database import SqliteDatabase
    from .repositories.sqlite_images import SqliteImageRepository
    from .repositories.sqlite_uploads import SqliteUploadRepository

    # Absolute, since a library that keeps a relative path would follow a later change of directory.
    directory = settings.data_dir.absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        keys = settings.url_signing_keys or (load_or_create_key(directory / "url_signing_key"),)
        database = SqliteDatabase(directory / DATABASE)
        objects = LocalObjectStore(_made(directory / "objects"))
        sync(directory)
        sync(directory.parent)
    except OSError as error:
        raise ConfigurationError(
            f"DATA_DIR: got {str(settings.data_dir)!r}, wants a directory that can be written to ({error})"
        ) from error
    keyring = tuple(_own_credentials(key) for key in keys)
    links = LinkService(
        signer=lambda: keyring[0],
        keyring=keyring,
        region=settings.region,
        default_life=settings.presigned_url_expiration,
        public_endpoint=settings.public_endpoint,
    )
    repositories = Repositories(
        SqliteImageRepository(database, quota=_quota(settings)),
        SqliteUploadRepository(database),
        SqliteClaimRepository(database),
        SqliteAudit(database),
    )
    return _services(settings, telemetry, repositories, objects, links, _fixed(keys))


def _build_aws(settings: Settings, telemetry: Telemetry) -> Services:
    from .repositories.dynamodb_audit import DynamoDbAudit
    from .repositories.dynamodb_claims import DynamoDbClaimRepository
    from .repositories.dynamodb_client import open_table
    from .repositories.dynamodb_images import DynamoDbImageRepository
    from .repositories.dynamodb_keys import StoredKeys
    from .repositories.dynamodb_uploads import DynamoDbUploadRepository
    from .repositories.object_store import S3ObjectStore

    endpoint = settings.endpoint or (LOCALSTACK if settings.use_localstack else None)
    s3_endpoint = settings.s3_endpoint or endpoint
    credentials = _aws_credentials(settings)
    table = open_table(
        settings.table_name,
        region=settings.region,
        endpoint=settings.dynamodb_endpoint or endpoint,
        credentials=credentials,
    )
    bucket_url = f"https://{settings.bucket_name}.s3.{settings.region}.amazonaws.com"
    public_endpoint = settings.public_endpoint or s3_endpoint
    links = LinkService(
        signer=credentials,
        region=settings.region,
        default_life=settings.presigned_url_expiration,
        public_endpoint=public_endpoint or bucket_url,
        objects_path=f"/{settings.bucket_name}/" if public_endpoint else "/",
        bucket=settings.bucket_name,
    )
    keys = _fixed(settings.url_signing_keys) if settings.url_signing_keys else StoredKeys(table)
    objects = S3ObjectStore(settings.bucket_name, region=settings.region, endpoint=s3_endpoint, credentials=credentials)
    repositories = Repositories(
        DynamoDbImageRepository(table, quota=_quota(settings)),
        DynamoDbUploadRepository(table),
        DynamoDbClaimRepository(table),
        DynamoDbAudit(table),
    )
    return _services(settings, telemetry, repositories, objects, links, keys)


def _services(
    settings: Settings,
    telemetry: Telemetry,
    repositories: Repositories,
    store: ObjectStore,
    links: LinkService,
    keys: KeySource,
) -> Services:
    objects = watched(ObjectStore, store, "objects", telemetry)
    repository = watched(ImageRepository, repositories.images, "metadata", telemetry, prefix="images.")
    uploads = watched(UploadRepository, repositories.uploads, "metadata", telemetry, prefix="uploads.")
    claims = watched(ClaimRepository, repositories.claims, "metadata", telemetry, prefix="claims.")
    housekeeper = Housekeeper(uploads=uploads, claims=claims, objects=objects)
    # libvips lets go of the GIL; more threads than cores would only hold more pictures in memory.
    cpu = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="cpu", initializer=_yield(settings.workers))
    memory = MemoryBudget.for_pictures(settings.max_image_pixels)
    inspection = InspectionService(
        max_size=settings.max_image_size,
        max_pixels=settings.max_image_pixels,
        memory=memory,
        cpu=cpu,
        tracing=telemetry.tracing,
    )
    renditions = RenditionService(
        repository=repository,
        objects=objects,
        cpu=cpu,
        memory=memory,
        max_pixels=settings.max_image_pixels,
        telemetry=telemetry,
    )
    room = Room(repository, _quota(settings))
    return Services(
        settings=settings,
        telemetry=telemetry,
        authentication=_authentication(settings),
        images=ImageService(
            repository=repository, objects=objects, inspection=inspection, room=room, metrics=telemetry.metrics
        ),
        uploads=UploadService(
            uploads=uploads,
            claims=claims,
            repository=repository,
            objects=objects,
            inspection=inspection,
            room=room,
            max_size=settings.max_image_size,
            metrics=telemetry.metrics,
        ),
        idempotency=IdempotencyService(claims),
        housekeeper=housekeeper,
        reconciler=Reconciler(
            repository=repository,
            uploads=uploads,
            objects=objects,
            audit=repositories.audit,
            housekeeper=housekeeper,
        ),
        links=links,
        contents=ContentLinks(keys),
        renditions=renditions,
        repository=repository,
        claims=claims,
        objects=objects,
        cpu=cpu,
    )


def _quota(settings: Settings) -> Quota:
    return Quota(settings.quota_images, settings.quota_bytes)


def _authentication(settings: Settings) -> Authentication:
    if settings.is_open:
        return OpenAccess()
    # Here, since what verifies tokens takes as long to import as all of the embedded home.
    from .services.authentication import Keys, ProviderKeys, Secrets, TokenAuthentication

    keys: Keys
    if settings.auth_jwks_url:
        from .repositories.jwks import JwksKeys

        keys = ProviderKeys(JwksKeys(settings.auth_jwks_url))
    else:
        keys = Secrets(settings.auth_secret or ())
    return TokenAuthentication(keys, issuer=settings.auth_issuer, audience=settings.auth_audience)


def _yield(workers: int) -> Callable[[], None]:
    """Return what makes a thread let the event loops go first, of which each server process has one.

    A nice thread keeps the processor to the end of its time slice. One that is idle gives it up at once; but it gets
    next to nothing where the event loops can keep all cores busy. Only Linux has this for threads.
    """
    is_idle = (os.cpu_count() or 1) > workers

    def initialize() -> None:
        thread = threading.get_native_id()
        with suppress(OSError, AttributeError):
            if is_idle:
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
            else:
                os.setpriority(os.PRIO_PROCESS, thread, NICENESS)

    return initialize


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


def _fixed(keys: tuple[str, ...]) -> KeySource:
    async def source() -> tuple[str, ...]:
        return keys

    return source


def _own_credentials(key: str) -> Credentials:
    # The access key id stands in every URL: it tells which key signed, and nothing else about it.
    return Credentials(hashlib.sha256(f"access key id {key}".encode()).hexdigest()[:20], key)


def _aws_credentials(settings: Settings) -> CredentialSource:
    """Return one source for both stores and the links: whoever may write is who signs."""
    key, secret = settings.access_key_id, settings.secret_access_key
    if key and secret:
        fixed = Credentials(key, secret, settings.session_token)
        return lambda: fixed
    if key or secret:
        missing = "AWS_SECRET_ACCESS_KEY" if key else "AWS_ACCESS_KEY_ID"
        raise ConfigurationError(f"{missing}: got nothing, wants what belongs to the other half of the credentials")
    if settings.use_localstack:
        return lambda: LOCALSTACK_CREDENTIALS
    if provided := provider_chain(settings.region):
        return provided
    raise ConfigurationError(
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: got none, want the credentials for AWS "
        "(those of a profile or a role are found if botocore is installed)"
    )
