"""What commands print: words for people, or JSON for programs."""

from collections.abc import Callable, Iterable

import click
import msgspec

from ..common.sizes import in_words
from ..models.image import Image

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")

IMAGE_HEADING = f"{'IMAGE ID':36}  {'UPLOADED (UTC)':16}  {'SIZE':>9}  {'PIXELS':>11}  {'USER':14}  {'FILE':24}  TAGS"


class Printer:
    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, thing: object, words: str) -> None:
        """Print one thing: as a line of JSON, or in words."""
        click.echo(msgspec.json.encode(thing) if self.as_json else words)

    def rows[T](self, things: Iterable[T], heading: str, line: Callable[[T], str]) -> None:
        """Print each thing as it comes; in words, below a heading."""
        for number, thing in enumerate(things):
            if not number and not self.as_json:
                click.echo(heading)
            self.show(thing, line(thing))


def image_line(image: Image) -> str:
    pixels = f"{image.width}x{image.height}"
    return (
        f"{image.image_id}  {image.created_at:%Y-%m-%d %H:%M}  {in_words(image.size):>9}  {pixels:>11}  "
        f"{cut(image.user_id, 14):14}  {cut(image.filename, 24):24}  {', '.join(image.tags)}"
    ).rstrip()


def image_words(image: Image) -> str:
    """Say all that is known of an image, a line for each thing."""
    facts = {
        "image id": image.image_id,
        "file": image.filename,
        "user": image.user_id,
        "type": image.content_type + (f", {image.frames} frames" if image.frames > 1 else ""),
        "size": in_words(image.size) + (f" ({image.size:,} bytes)" if image.size >= 1024 else ""),
        "pixels": f"{image.width} x {image.height}",
        "tags": ", ".join(image.tags),
        "description": image.description.replace("\n", "\n" + " " * 15),
        "uploaded": f"{image.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "changed": f"{image.updated_at:%Y-%m-%d %H:%M:%S} UTC (version {image.version})" if image.version > 1 else "",
        "colour": image.color,
        "sha256": image.sha256,
    }
    return "\n".join(f"{name:13}  {value}" for name, value in facts.items() if value)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
