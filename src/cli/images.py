"""The commands for single images: one for each operation of the API."""

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import click

from ..client import Client
from ..common.errors import PreconditionFailed
from .exits import INCOMPLETE, REFUSED, each, end
from .options import calls_service, filters, owner, query_of, renditions
from .printing import IMAGE_HEADING, Printer, image_line, image_words
from .values import Duration

ATTEMPTS = 5  # to add or remove tags of an image that others change at the same time


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@owner
@click.option("--tag", "tags", multiple=True, help="May be given several times.")
@click.option("--description", default="", help="Free text.")
@click.option("--filename", help="The name that a download gets, if not the file's own. Only with one file.")
@click.option("--once", is_flag=True, help="Don't store a picture that its owner has already: print that one.")
@calls_service
def upload(
    *, client: Client, printer: Printer, files: tuple[Path, ...], filename: str | None, once: bool, **about: Any
) -> None:
    """Upload FILES, and print the id of each.

    - stands for standard input. Of a folder, see import.

    \b
    image-service upload cat.jpg dog.jpg --tag pets --user alice
    curl -s https://example.com/cat.jpg | image-service upload - --filename cat.jpg
    """
    if filename and len(files) > 1:
        raise click.UsageError("--filename is for one file")

    def send(path: Path) -> None:
        source: Path | BinaryIO = sys.stdin.buffer if str(path) == "-" else path
        image = client.upload(source, filename=filename, on_duplicate="return" if once else "store", **about)
        printer.show(image, image.image_id)

    each(files, send)


@click.command("list")
@filters
@click.option("--oldest", is_flag=True, help="The oldest first.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--all", "is_all", is_flag=True, help="All of them.")
@click.option("--urls", is_flag=True, help="With --json: also url, thumbnail_url and expires_at.")
@calls_service
def list_images(
    *, client: Client, printer: Printer, oldest: bool, limit: int, is_all: bool, urls: bool, **filtered: Any
) -> None:
    """List images, the newest first.

    \b
    image-service list --tag cat --tag garden --after 2026-01-01
    image-service list --all --json | jq -r .image_id
    """
    images = client.images(
        **query_of(**filtered),
        order="oldest" if oldest else "newest",
        include_urls=urls,
        page_size=100 if is_all else min(limit, 100),
    )
    printer.rows(images if is_all else islice(images, limit), IMAGE_HEADING, image_line)


@click.command()
@click.argument("image_id")
@renditions
@click.option("--expires-in", type=Duration(), help="How long the link works, up to 7d.")
@click.option("--attachment", is_flag=True, help="A link that saves the file instead of showing it.")
@calls_service
def get(
    *, client: Client, printer: Printer, image_id: str, expires_in: Any, attachment: bool, **rendition: Any
) -> None:
    """Show an image, and a link to it that works for a while.

    \b
    image-service get 01a20387-a2de-74e1-8a8e-1f81a90f15ac --expires-in 7d
    """
    seconds = None if expires_in is None else int(expires_in.total_seconds())
    image = client.get(image_id, download=attachment, expires_in=seconds, **rendition)
    link = f"{'link':13}  {image.url}\n{'works until':13}  {image.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    printer.show(image, f"{image_words(image)}\n{link}")


@click.command(short_help="Save images, or renditions of them.")
@click.argument("image_ids", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default=Path(),
    help="A file, or a folder to save it in under its own name; - for standard output.  [default: this folder]",
)
@renditions
@calls_service
def download(*, client: Client, printer: Printer, image_ids: tuple[str, ...], output: Path, **rendition: Any) -> None:
    """Download images, or renditions of them, and print where they are.

    A file appears under its name when it is complete; the bytes of originals are checked.

    \b
    image-service download 01a20387-a2de-74e1-8a8e-1f81a90f15ac --width 800 -o cat.webp
    """
    if str(output) == "-":
        for image_id in image_ids:
            client.download(image_id, sys.stdout.buffer, **rendition)
        return
    if len(image_ids) > 1 and not output.is_dir():
        raise click.UsageError(f"--output: got {str(output)!r}, wants a folder for several images")

    def save(image_id: str) -> None:
        path = client.download(image_id, output, **rendition)
        printer.show({"image_id": image_id, "path": str(path)}, str(path))

    each(image_ids, save)


@click.command()
@click.argument("image_id")
@click.option("--tags", help="All tags, comma-separated, in place of those that there are; '' for none.")
@click.option("--add-tag", "added", metavar="TAG", multiple=True, help="One more tag. May be given several times.")
@click.option("--remove-tag", "removed", metavar="TAG", multiple=True, help="One tag less.")
@click.option("--description", help="Another description; '' for none.")
@click.option("--filename", help="Another name; '' for the one that the service gives.")
@click.option("--if-version", type=click.IntRange(1), help="Only if it still has this version.")
@calls_service
def update(
    *,
    client: Client,
    printer: Printer,
    image_id: str,
    tags: str | None,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    if_version: int | None,
    **texts: str | None,
) -> None:
    """Change tags, description or filename of an image. What is not named stays.

    \b
    image-service update 01a20387-a2de-74e1-8a8e-1f81a90f15ac --add-tag garden --description "In May"
    """
    if tags is not None and (added or removed):
        raise click.UsageError("--tags is for all of them, --add-tag and --remove-tag for some: not both")
    changes: dict[str, Any] = {name: text or None for name, text in texts.items() if text is not None}
    if tags is not None:
        changes["tags"] = tags.split(",")
    if not (changes or added or removed):
        raise click.UsageError("there is nothing to change: see --help")
    for attempt in range(1, ATTEMPTS + 1):
        image = client.get(image_id)
        if if_version not in (None, image.version):
            end(REFUSED, f"the image is at version {image.version}, and not {if_version} [{PreconditionFailed.code}]")
        if added or removed:
            changes["tags"] = _retagged(image.tags, added, removed)
        try:
            # As it was read: others may be changing it.
            changed = client.update(image_id, if_match=image, **changes)
            break
        except PreconditionFailed:
            if if_version or attempt == ATTEMPTS:
                raise
    printer.show(changed, image_words(changed))


def _retagged(tags: Iterable[str], added: Iterable[str], removed: Iterable[str]) -> list[str]:
    gone = {tag.strip().casefold() for tag in removed}
    return [tag for tag in (*tags, *added) if tag.strip().casefold() not in gone]


@click.command()
@click.argument("image_ids", nargs=-1, required=True)
@calls_service
def delete(*, client: Client, printer: Printer, image_ids: tuple[str, ...]) -> None:
    """Delete images, with their renditions. They do not come back.

    - reads the ids from standard input, one a line.

    \b
    image-service list --all --json --tag draft | jq -r .image_id | image-service delete -
    """
    ids = [line.strip() for line in sys.stdin if line.strip()] if image_ids == ("-",) else list(image_ids)
    is_incomplete = False
    for result in client.delete_all(ids):
        words = result.status.replace("_", " ") + (f" [{result.code}]" if result.code else "")
        printer.show(result, f"{result.image_id}  {words}")
        is_incomplete |= result.status != "deleted"
    if is_incomplete:
        sys.exit(INCOMPLETE)


@click.command()
@click.option("--user", "user_id", metavar="ID", help="Of this user's images.")
@click.option("--prefix", default="", help="That begin like this.")
@calls_service
def tags(*, client: Client, printer: Printer, user_id: str | None, prefix: str) -> None:
    """List the tags that images have, and how many have each.

    \b
    image-service tags --user alice --prefix 2026
    """
    counts = client.tags(user_id=user_id, prefix=prefix)
    printer.rows(counts, f"{'IMAGES':>9}  TAG", lambda each: f"{each.count:>9,}  {each.tag}")
