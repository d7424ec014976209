"""What the command ends with, and how a failure becomes that."""

import sys
from collections.abc import Callable, Iterator, Sequence
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
    CONFIGURATION: "the command or a setting is not understood, or a file can't be read or written",
    REFUSED: "the service refused the request",
    UNAVAILABLE: "the service does not answer, or a store of it doesn't",
    INTERRUPTED: "interrupted by Ctrl-C",
}


class AtOnce(SystemExit):
    """Ends the process without the interpreter's own ending, see `at_once`."""


@contextmanager
def at_once() -> Iterator[None]:
    """Have what ends the command within this context end the process at once, where `cli.run` is what runs.

    obstore's threads hand over a result and then still want to say so to the interpreter; if that ends meanwhile, they
    abort the process (as of 0.12), whatever the command came to.
    """
    try:
        yield
    except SystemExit as ended:
        raise AtOnce(ended.code) from None


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
        end(UNAVAILABLE if _is_outage(error) else REFUSED, words_of(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise  # click knows what to do
        end(CONFIGURATION, words_of(error))


def each[T](things: Sequence[T], do: Callable[[T], None]) -> None:
    """Do it with one after the other. Where it goes wrong with one of several, tell so and go on with the others.

    But not if the service does not answer, or does not know us: so it would be with all.
    """
    failed = False
    for thing in things:
        try:
            do(thing)
        except (ServiceError, OSError, ValueError) as error:
            is_for_all = isinstance(error, ServiceError) and (_is_outage(error) or error.status in (401, 403))
            if len(things) == 1 or is_for_all or isinstance(error, BrokenPipeError):
                raise
            words = words_of(error)
            click.echo(f"image-service: {'' if str(thing) in words else f'{thing}: '}{words}", err=True)
            failed = True
    if failed:
        sys.exit(INCOMPLETE)


def end(code: int, words: str) -> NoReturn:
    click.echo(f"image-service: {words}", err=True)
    sys.exit(code)


def _is_outage(error: ServiceError) -> bool:
    return isinstance(error, StoreError) or error.status is None or error.status >= 500


def words_of(error: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    if not isinstance(error, ServiceError):
        return str(error)
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"{error.detail} [{error.code}]{request}"
