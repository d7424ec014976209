"""The commands that are a service, or look after one: with its settings, and not over its API."""

import asyncio
import datetime as dt
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click

from ..common.config import Settings
from ..common.errors import ConfigurationError, ServiceError
from ..models.caller import SCOPES, WRITE
from .exits import CONFIGURATION, INCOMPLETE, at_once, end, words_of
from .printing import Printer, as_json_option
from .values import Duration


def home(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which home is meant."""
    for option in (
        click.option("--data-dir", help="Directory that holds everything (DATA_DIR, ./data)."),
        click.option("--storage", help="Where images live: local (files and SQLite) or aws (STORAGE, local)."),
    ):
        command = option(command)
    return command


@click.command()
@home
@click.option("--host", help="Address to listen on (HOST, 127.0.0.1).")
@click.option("--port", help="Port to listen on; 0 takes a free one (PORT, 8000).")
@click.option("--workers", help="Server processes (WORKERS, 1).")
def serve(**options: str | None) -> None:
    """Serve the API until Ctrl-C or SIGTERM.

    Options win over the environment variables named with them; the README lists the others. Prints one line with the
    URL once it answers; the log goes to standard error. Exits with 0, or with 2 and one line that says why if it
    can't start.

    \b
    image-service serve --data-dir /srv/images --port 8080 --workers 2
    """
    from ..handlers import server

    with _configured(options) as settings:
        server.serve(settings, announce=lambda url: click.echo(f"Image Service is ready at {url}"))


@click.command(short_help="Make a token for callers of a service.")
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
    type=Duration(),
    default="1h",
    show_default=True,
    help="How long it is good for, such as 30m or 90d.",
)
@as_json_option
def token(*, user: str, scopes: tuple[str, ...], life: dt.timedelta, as_json: bool) -> None:
    """Make a token for callers of a service with the same AUTH_SECRET, and print it.

    AUTH_ISSUER and AUTH_AUDIENCE are in it where they are set. Exits with 2 and one line that says why if it can't.

    \b
    export IMAGE_SERVICE_TOKEN=$(image-service token --user alice --expires 30d)
    """
    from ..handlers import minting

    with _configured({}) as settings:
        made = minting.token(settings, user_id=user, scopes=scopes, life=life)
        Printer(as_json=as_json).show({"token": made, "user_id": user, "scope": " ".join(scopes)}, made)


@click.command(short_help="Find and remove what crashes have left behind.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option(
    "--older-than",
    type=Duration(),
    default="1h",
    show_default=True,
    help="Leave alone what is younger: a request may still be at it. 0s is for when nothing runs.",
)
@click.option("--force", is_flag=True, help="Go on even if there is no record at all, so that all pictures go.")
@home
@as_json_option
def reconcile(*, dry_run: bool, older_than: dt.timedelta, force: bool, as_json: bool, **options: str | None) -> None:
    """Find and remove what crashes have left behind, and mend what does not agree with the records.

    Prints one line for each finding and a summary. A record whose object is missing is only reported. Exits with 0 if
    nothing is left, with 1 if something is, with 2 and one line that says why if it can't start.

    \b
    image-service reconcile --dry-run --data-dir /srv/images
    """
    from ..handlers import reconciliation

    with at_once(), _configured(options) as settings:
        is_clean = asyncio.run(
            reconciliation.run(settings, older_than=older_than, dry_run=dry_run, force=force, as_json=as_json)
        )
        sys.exit(0 if is_clean else INCOMPLETE)


@click.command(short_help="Check settings, stores, permissions, the clock.")
@home
@as_json_option
def doctor(*, as_json: bool, **options: str | None) -> None:
    """Check settings, stores, permissions and the clock, and say what to do where something is wrong.

    Run it with the environment that the service has, before its first start or when something is odd; it may run
    beside the service. It writes and removes an object and an entry, to see whether that works. Exits with 0 if all is
    well, with 1 if something is not, with 2 and one line that says why if a setting is not understood.

    \b
    STORAGE=aws BUCKET_NAME=my-images image-service doctor
    """
    from ..handlers import diagnosis

    printer = Printer(as_json=as_json)
    with at_once(), _configured(options) as settings:
        is_well = diagnosis.run(settings, lambda check: printer.show(check, diagnosis.words(check)))
        sys.exit(0 if is_well else INCOMPLETE)


@contextmanager
def _configured(options: Mapping[str, str | None]) -> Iterator[Settings]:
    """Read the settings, over which options win; a setting that does not allow a start ends the process."""
    # Server processes read the environment themselves.
    os.environ.update({name.upper(): value for name, value in options.items() if value is not None})
    try:
        yield Settings.from_environment(os.environ)
    except (ConfigurationError, ServiceError) as error:
        end(CONFIGURATION, str(error))
    except OSError as error:
        end(CONFIGURATION, words_of(error))
