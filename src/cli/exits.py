"""What the command ends with, and how a failure becomes that."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from ..common.errors import ConfigurationError, ServiceError, StoreError

INCOMPLETE = 1
CONFIGURATION = 2  # and what click itself ends with if it doesn't understand the command
REFUSED = 3
UNAVAILABLE = 4
INTERRUPTED = 130

EXITS = {
    0: "done",
    INCOMPLETE: "done in part: something was refused, is missing or not as it should be",
    CONFIGURATION: "the command or a setting is not understood, or a file can't be read",
    REFUSED: "the service refused the request",
    UNAVAILABLE: "the service does not answer, or a store of it doesn't",
    INTERRUPTED: "interrupted by Ctrl-C",
}


@contextmanager
def told() -> Iterator[None]:
    """End the process with one line that says why, if something fails."""
    try:
        yield
    except KeyboardInterrupt:
        end(INTERRUPTED, "interrupted")
    except (ConfigurationError, ValueError) as error:
        end(CONFIGURATION, str(error))
    except ServiceError as error:
        end(UNAVAILABLE if _is_outage(error) else REFUSED, _words(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise  # click knows what to do
        where = f"{error.filename}: " if error.filename else ""
        end(CONFIGURATION, f"{where}{error.strerror or error}")


def end(code: int, words: str) -> NoReturn:
    click.echo(f"image-service: {words}", err=True)
    sys.exit(code)


def _is_outage(error: ServiceError) -> bool:
    return isinstance(error, StoreError) or error.status is None or error.status >= 500


def _words(error: ServiceError) -> str:
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"{error.detail} [{error.code}]{request}"
