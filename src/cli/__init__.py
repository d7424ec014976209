"""The `image-service` command: parse, call, print."""

import asyncio
import datetime as dt
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from .. import VERSION
from ..common.config import Settings
from ..common.errors import ConfigurationError, ServiceError
from ..handlers import minting, reconciliation, server
from ..models.caller import SCOPES, WRITE

CONFIGURATION_EXIT = 2
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="image-service")
def main() -> None:
    """Store pictures with their metadata, list them, and hand out links to them."""


@main.command()
@click.option("--storage", help="Where images live: local (files and SQLite) or aws (STORAGE, local).")
@click.option("--host", help="Address to listen on (HOST, 127.0.0.1).")
@click.option("--port", help="Port to listen on; 0 takes a free one (PORT, 8000).")
@click.option("--data-dir", help="Directory that holds everything (DATA_DIR, ./data).")
@click.option("--workers", help="Server processes (WORKERS, 1).")
def serve(**options: str | None) -> None:
    """Serve the API until Ctrl-C or SIGTERM.

    Options win over the environment variables named with them; the README lists the others. Prints one line with the
    URL once it answers; the log goes to standard error. Exits with 0, or with 2 and one line that says why if it
    can't start.
    """
    with _configured(options) as settings:
        server.serve(settings, announce=lambda url: click.echo(f"Image Service is ready at {url}"))


class _Duration(click.ParamType[dt.timedelta]):
    """A number with a unit: 30s, 15m, 1h, 2d."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.timedelta:
        if isinstance(value, dt.timedelta):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smhd])", str(value))
        if match is None:
            self.fail(f"got {value!r}, wants a number with a unit such as 90s, 15m, 1h or 2d", param, ctx)
        return dt.timedelta(**{_UNITS[match[2]]: int(match[1])})


@main.command()
@click.option("--user", required=True, help="The user id that the holder's images have.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=(WRITE,),
    show_default=True,
    help="What it allows. Of those for images each includes those before it; images:admin is for the images of all.",
)
@click.option(
    "--expires",
    "life",
    type=_Duration(),
    default="1h",
    show_default=True,
    help="How long it is good for, such as 30m or 90d.",
)
def token(*, user: str, scopes: tuple[str, ...], life: dt.timedelta) -> None:
    """Make a token for callers of a service with the same AUTH_SECRET, and print it.

    AUTH_ISSUER and AUTH_AUDIENCE are in it where they are set. Exits with 2 and one line that says why if it can't.
    """
    with _configured({}) as settings:
        click.echo(minting.token(settings, user_id=user, scopes=scopes, life=life))


@main.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option(
    "--older-than",
    type=_Duration(),
    default="1h",
    show_default=True,
    help="Leave alone what is younger: a request may still be at it. 0s is for when nothing runs.",
)
@click.option("--force", is_flag=True, help="Go on even if there is no record at all, so that all pictures go.")
@click.option("--storage", help="Where images live: local (files and SQLite) or aws (STORAGE, local).")
@click.option("--data-dir", help="Directory that holds everything (DATA_DIR, ./data).")
def reconcile(*, dry_run: bool, older_than: dt.timedelta, force: bool, **options: str | None) -> None:
    """Find and remove what crashes have left behind, and mend what does not agree with the records.

    Prints one line for each finding and a summary. A record whose object is missing is only reported. Exits with 0 if
    nothing is left, with 1 if something is, with 2 and one line that says why if it can't start.
    """
    with _configured(options) as settings:
        is_clean = asyncio.run(reconciliation.run(settings, older_than=older_than, dry_run=dry_run, force=force))
    sys.exit(0 if is_clean else 1)


@contextmanager
def _configured(options: Mapping[str, str | None]) -> Iterator[Settings]:
    """Read the settings, over which options win; a setting that does not allow a start ends the process."""
    # Server processes read the environment themselves.
    os.environ.update({name.upper(): value for name, value in options.items() if value is not None})
    try:
        yield Settings.from_environment(os.environ)
    except (ConfigurationError, ServiceError) as error:
        click.echo(f"image-service: {error}", err=True)
        sys.exit(CONFIGURATION_EXIT)
