"""Options that commands share which call a service."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from ..client import Client
from .exits import told
from .printing import Printer, as_json_option
from .values import Moment

type Command = Callable[..., None]


def calls_service(command: Command) -> Command:
    """Give a command the options of all that call a service; it gets a `client` and a `printer`."""

    @click.option("--url", envvar="IMAGE_SERVICE_URL", show_envvar=True, help="Where the service is.")
    @click.option(
        "--token",
        envvar="IMAGE_SERVICE_TOKEN",
        show_envvar=True,
        help="The bearer token, if it asks for one. Others on this machine can read it in the list of processes: "
        "better set the variable.",
    )
    @as_json_option
    @wraps(command)
    def run(*, url: str | None, token: str | None, as_json: bool, **values: Any) -> None:
        with told(), Client(url, token=token) as client:
            command(client=client, printer=Printer(as_json=as_json), **values)

    return run


def filters(command: Command) -> Command:
    """Add the options that say which images are meant; `query_of` reads them."""
    for option in reversed(
        (
            click.option("--user", "user_id", metavar="ID", help="Of this user."),
            click.option("--tag", "tags", multiple=True, help="With this tag. Several: with all of them."),
            click.option("--any", "is_any", is_flag=True, help="With any of the tags, instead of all."),
            click.option("--without", "exclude_tags", metavar="TAG", multiple=True, help="Without this tag."),
            click.option("--after", "created_after", type=Moment(), help="Uploaded then or later: a day, or a time."),
            click.option("--before", "created_before", type=Moment(), help="Uploaded before then."),
        )
    ):
        command = option(command)
    return command


def query_of(*, is_any: bool, **values: Any) -> dict[str, Any]:
    """Return the filters as the client takes them."""
    return {**values, "tag_mode": "any" if is_any else "all"}


def renditions(command: Command) -> Command:
    """Add the options that ask for a rendition instead of the original."""
    for option in reversed(
        (
            click.option("--width", type=click.IntRange(1), help="Pixels: a rendition, instead of the original."),
            click.option("--height", type=click.IntRange(1), help="Pixels."),
            click.option("--fit", type=click.Choice(("cover", "contain", "inside", "fill")), help="How it fills them."),
            click.option("--format", type=click.Choice(("jpeg", "png", "webp", "avif")), help="In this format."),
            click.option("--quality", type=click.IntRange(1, 100), help="Of what loses something."),
        )
    ):
        command = option(command)
    return command


def owner(command: Command) -> Command:
    return click.option("--user", "user_id", metavar="ID", help="The owner, if not whose token it is.")(command)
