"""`image-service doctor`: a look at all that a service with these settings needs, one thing after the other."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from ..bootstrap import DATABASE, Services, build_services
from ..common import logging
from ..common.config import Settings
from ..common.errors import ConfigurationError
from ..models.check import Check
from . import machine_checks, store_checks

_LABELS = {"ok": "ok     ", "warning": "WARNING", "failed": "FAILED "}


def run(settings: Settings, tell: Callable[[Check], None]) -> bool:
    """Make every check that makes sense, tell of each as it is made, and return whether none has failed."""
    logging.configure("CRITICAL")  # what fails is told of here
    return asyncio.run(_run(settings, tell))


def words(check: Check) -> str:
    lines = [f"{_LABELS[check.status]}  {check.name}: {check.detail}"]
    if check.advice:
        lines.append(f"{'':9}-> {check.advice}")
    return "\n".join(lines)


async def _run(settings: Settings, tell: Callable[[Check], None]) -> bool:
    is_well = True
    async with aclosing(_checks(settings)) as checks:
        async for check in checks:
            tell(check)
            is_well = is_well and check.status != "failed"
    return is_well


async def _checks(settings: Settings) -> AsyncGenerator[Check]:
    yield _settings(settings)
    can_store = True
    for check in machine_checks.of(settings):
        yield check
        can_store = can_store and check.status != "failed"
    yield await _access(settings)
    if not can_store:
        return
    if settings.storage == "local" and not (settings.data_dir / DATABASE).exists():
        yield Check(name="stores", status="ok", detail="nothing there yet: the first start makes them")
        return
    try:
        services = build_services(settings)
    except ConfigurationError as error:
        yield Check(name="stores", status="failed", detail=str(error), advice="set it, and run this again")
        return
    try:
        async for check in _of_stores(services):
            yield check
    finally:
        await services.close()


async def _of_stores(services: Services) -> AsyncIterator[Check]:
    metadata = await store_checks.metadata(services)
    yield metadata
    async for check in store_checks.objects(services):
        yield check
    if metadata.status == "ok":
        yield await store_checks.newest(services)


def _settings(settings: Settings) -> Check:
    if settings.storage == "local":
        detail = f"embedded home in {settings.data_dir.absolute()}"
    else:
        where = settings.endpoint or ("LocalStack" if settings.use_localstack else f"AWS, {settings.region}")
        detail = f"aws home at {where}: bucket {settings.bucket_name}, table {settings.table_name}"
    return Check(name="settings", status="ok", detail=detail)


async def _access(settings: Settings) -> Check:
    """Say who is let in, and whether tokens can be verified."""
    if settings.is_open:
        return Check(
            name="access",
            status="warning" if settings.allow_anonymous == "1" else "ok",
            detail="nobody is asked who they are",
            advice="set AUTH_SECRET, unless all who reach the service may do everything"
            if settings.allow_anonymous == "1"
            else None,
        )
    if settings.auth_jwks_url is None:
        return Check(name="access", status="ok", detail="tokens signed with AUTH_SECRET")
    from ..repositories.jwks import JwksKeys

    if await JwksKeys(settings.auth_jwks_url).are_there():
        return Check(name="access", status="ok", detail=f"tokens of {settings.auth_issuer}, whose keys are there")
    return Check(
        name="access",
        status="failed",
        detail=f"there is no key that can be used at {settings.auth_jwks_url}",
        advice="AUTH_JWKS_URL wants the address of the provider's keys (jwks_uri in its openid-configuration), and "
        "this machine to reach it",
    )
