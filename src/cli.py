"""The `image-service` command: parse, call, print."""

import os
import sys

import click

from . import VERSION
from .common.config import Settings
from .common.errors import ConfigurationError
from .handlers import server

CONFIGURATION_EXIT = 2


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
    # Server processes read the environment themselves.
    os.environ.update({name.upper(): value for name, value in options.items() if value is not None})
    try:
        settings = Settings.from_environment(os.environ)
        server.serve(settings, announce=lambda url: click.echo(f"Image Service is ready at {url}"))
    except ConfigurationError as error:
        click.echo(f"image-service: {error}", err=True)
        sys.exit(CONFIGURATION_EXIT)
