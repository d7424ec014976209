"""The application in this process, over the stores of either home."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from src.bootstrap import build_services
from src.common.config import Settings
from src.handlers.app import create_app
from src.handlers.telemetry import of_server
from tests.support.emulator import Emulator

HOMES = ("embedded", "aws")


@asynccontextmanager
async def home_app(
    home: str, directory: Path, emulator: Callable[[], Emulator], environment: Mapping[str, str]
) -> AsyncIterator[Starlette]:
    """Build it with a database and files below `directory`, or a table and a bucket of its own, and with metrics."""
    variables = {"DATA_DIR": str(directory / "data"), **environment}
    if home == "aws":
        aws = emulator()
        variables |= {
            "STORAGE": "aws",
            "BUCKET_NAME": aws.new_bucket(),
            "TABLE_NAME": aws.new_table(),
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
    settings = Settings.from_environment(variables)
    services = build_services(settings, of_server(settings, {}))
    yield create_app(services)
    await services.close()


async def stored_objects(app: Starlette, emulator: Callable[[], Emulator]) -> list[str]:
    """Return the keys of all objects."""
    settings = app.state.services.settings
    if settings.storage == "local":
        root = settings.data_dir / "objects"
        return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    answer: dict[str, Any] = emulator().client("s3").list_objects_v2(Bucket=settings.bucket_name)
    return [entry["Key"] for entry in answer.get("Contents", [])]
