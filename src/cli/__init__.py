"""The `image-service` command: parse, call, print. `exits.py` says what it ends with."""

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from .. import VERSION
from .exits import EXITS, AtOnce

# Where each command is, in the order of the help: what calls a service is not loaded by what is one.
_COMMANDS = {
    "serve": "service:serve",
    "upload": "images:upload",
    "import": "moving:import_",
    "export": "moving:export",
    "list": "images:list_images",
    "get": "images:get",
    "download": "images:download",
    "update": "images:update",
    "delete": "images:delete",
    "tags": "images:tags",
    "token": "service:token",
    "reconcile": "service:reconcile",
    "doctor": "service:doctor",
}
_WORDS = """\b
Start here:
  image-service serve                     a service on this machine
  image-service upload cat.jpg --tag cat  a picture into it
  image-service import Pictures           a folder of pictures
  image-service list --tag cat            what is in it

All but serve, token, reconcile and doctor call a service that runs: at --url
or IMAGE_SERVICE_URL, if not http://127.0.0.1:8000, with the token --token or
IMAGE_SERVICE_TOKEN. With --json they print one JSON object a line.

\b
It ends with
"""


class _Commands(click.Group):
    """Loads a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module, _, name = _COMMANDS.get(cmd_name, "").partition(":")
        if not module:
            return None
        command: click.Command = getattr(import_module(f".{module}", __package__), name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_WORDS + "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXITS.items()),
)
@click.version_option(VERSION, prog_name="image-service")
def main() -> None:
    """Store pictures with their metadata, list them, and hand out links to them."""


def run() -> NoReturn:
    """Be the process of a command."""
    try:
        main(prog_name="image-service")
    except AtOnce as ended:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(int(ended.code or 0))
    sys.exit()
