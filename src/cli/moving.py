"""`image-service import` and `export`: folders of pictures, in and out."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..client import Client
from ..common.sizes import in_words
from ..models.image import Image
from ..transfer.archives import Archive, NotAnExport
from ..transfer.exporting import export as exported
from ..transfer.folders import FolderOptions, import_pictures, scan
from ..transfer.restoring import import_as_new, restore
from ..transfer.results import MOVED, Result
from .exits import CONFIGURATION, INCOMPLETE, end
from .options import calls_service, filters, owner, query_of
from .printing import Printer
from .progress import Progress, bar

_WORDS = {
    "uploaded": "uploaded",
    "restored": "restored",
    "downloaded": "downloaded",
    "present": "there already",
    "repeated": "with the bytes of another file",
    "missing": "missing",
    "skipped": "no pictures",
    "refused": "refused",
}

_jobs = click.option(
    "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Files that are under way at once."
)


@click.command("import", short_help="Upload the pictures of a folder, or an export.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@owner
@click.option("--tag", "tags", multiple=True, help="For all of them. May be given several times.")
@click.option("--tags-from-folders", is_flag=True, help="The names of the folders that a file is in become tags, too.")
@click.option("--as-new", is_flag=True, help="Of an export: new images with new ids, instead of those that they were.")
@click.option("--replace", is_flag=True, help="Of an export: images that have changed become what they were.")
@click.option("--dry-run", is_flag=True, help="Only tell what is missing.")
@_jobs
@calls_service
def import_(
    *, client: Client, printer: Printer, folder: Path, jobs: int, as_new: bool, replace: bool, **options: Any
) -> None:
    """Upload all pictures in FOLDER and below it that are not there yet.

    What a picture is, its bytes say: one that its owner has already, or that is in the folder twice, is not stored
    again, and stays as it is, with the tags that it has. So if an import breaks off, just run it again. What looks
    like no picture by its name is left out, and so are links to folders and what is hidden. At the end it says how
    many files came to what; what is refused is told, and why.

    A folder that was made by export is imported without loss: images keep id, owner, tags, description, file name,
    times and version. That takes a token with images:admin, or --as-new. With --replace one of which tags, description
    or the like have changed since is deleted and made as it was then.

    \b
    image-service import ~/Pictures --tags-from-folders --user alice
    image-service import backup --url https://images.example.com
    """
    if not Archive.is_at(folder):
        if as_new or replace:
            raise click.UsageError("--as-new and --replace are for an export, and this folder is none")
        _import_folder(client, printer, folder, FolderOptions(jobs=jobs, **options))
        return
    if any(options.values()) or (as_new and replace):
        raise click.UsageError("this folder is an export, which says all itself: it takes --as-new or --replace")
    if as_new:
        _import_export(printer, Archive(folder), partial(import_as_new, client, jobs=jobs))
    else:
        _import_export(printer, Archive(folder), partial(restore, client, replace=replace, jobs=jobs))


def _import_folder(client: Client, printer: Printer, folder: Path, options: FolderOptions) -> None:
    pictures, others = scan(folder)
    with bar(files=len(pictures), size=sum(found.size for found in pictures)) as progress:
        report = _Report(printer, progress)
        for other in others:
            report.add(other, in_bar=False)
        report.run(import_pictures(client, pictures, options))
    report.finish()


def _import_export(
    printer: Printer, archive: Archive, run: Callable[[Archive, list[Image | str]], Iterator[Result]]
) -> None:
    try:
        records = list(archive.records())
    except NotAnExport as error:
        end(CONFIGURATION, str(error))
    sizes = [record.size for record in records if not isinstance(record, str)]
    with bar(files=len(records), size=sum(sizes)) as progress:
        report = _Report(printer, progress)
        report.run(run(archive, records))
    report.finish()


@click.command("export", short_help="Save originals and records in a folder.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@filters
@_jobs
@calls_service
def export(*, client: Client, printer: Printer, folder: Path, jobs: int, **filtered: Any) -> None:
    """Save the originals of all images, or of those that the options name, in FOLDER, with what is known of them.

    import reads it back without loss, into this service or into another. An export that broke off, or an older one
    of the same images, is brought up to date: what is there already is not downloaded again.

    \b
    image-service export backup
    image-service export alice --user alice --tag holiday
    """
    query = query_of(**filtered)
    is_whole = not any(value for name, value in query.items() if name not in ("tag_mode", "user_id"))
    archive = Archive(folder)
    try:
        with archive.begun(query):
            usage = client.usage(query["user_id"]) if is_whole else None
            with bar(files=usage.images if usage else None, size=usage.bytes if usage else None) as progress:
                report = _Report(printer, progress)
                report.run(exported(client, archive, client.images(**query, order="oldest"), jobs=jobs))
    except NotAnExport as error:
        end(CONFIGURATION, str(error))
    report.finish()


class _Report:
    """Tells what comes of each file, and of all in the end."""

    def __init__(self, printer: Printer, progress: Progress) -> None:
        self._printer = printer
        self._progress = progress
        self._counts: Counter[str] = Counter()
        self._moved = 0

    def run(self, results: Iterator[Result]) -> None:
        try:
            for result in results:
                self.add(result)
        except BaseException:
            click.echo(f"{self._sum()} so far; it broke off. Run it again to go on.", err=True)
            raise

    def add(self, result: Result, *, in_bar: bool = True) -> None:
        self._counts[result.status] += 1
        self._moved += result.size if result.status in MOVED else 0
        if in_bar:
            self._progress.step(result)
        if self._printer.as_json:
            self._printer.show(result, "")
        elif result.detail and result.status != "skipped":
            code = f" [{result.code}]" if result.code else ""
            self._progress.say(f"{result.path}: {result.status}: {result.detail}{code}")

    def finish(self) -> None:
        """Print the sum, and end with INCOMPLETE if something was refused."""
        counts = dict(self._counts)
        self._printer.show({"type": "summary", "counts": counts, "bytes_moved": self._moved}, self._sum())
        if counts.get("refused"):
            sys.exit(INCOMPLETE)

    def _sum(self) -> str:
        parts = [f"{self._counts[status]:,} {words}" for status, words in _WORDS.items() if self._counts[status]]
        moved = f" ({in_words(self._moved)} moved)" if self._moved else ""
        number = self._counts.total()
        files = "1 file" if number == 1 else f"{number:,} files"
        return f"{files}: {', '.join(parts)}{moved}" if parts else "no files"
