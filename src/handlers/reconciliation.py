"""`image-service reconcile`: the service's findings as lines of text, with a progress bar and a summary."""

import datetime as dt
import sys
from collections import Counter
from contextlib import aclosing

import click
import msgspec

from ..bootstrap import DATABASE, Services, build_services
from ..common import logging
from ..common.config import Settings
from ..common.errors import ConfigurationError
from ..common.sizes import in_words
from ..models.finding import LOST, Finding

CLEAR = "\r\033[K"  # the line with the bar, which comes again below what is printed
MOST_STEPS = 500  # of the bar
BEGINNING = dt.datetime.min.replace(tzinfo=dt.UTC)  # before which there is no moment
SECOND = dt.timedelta(seconds=1)


async def run(settings: Settings, *, older_than: dt.timedelta, dry_run: bool, force: bool, as_json: bool) -> bool:
    """Find, and unless it is a dry run mend. Return whether nothing is left.

    Raises ConfigurationError or StoreError; also, unless forced, where everything would be removed.
    """
    logging.configure("WARNING")
    if settings.storage == "local" and not (settings.data_dir / DATABASE).exists():
        wants = "the directory of a service that has been started"
        raise ConfigurationError(f"DATA_DIR: got {str(settings.data_dir)!r}, wants {wants}")
    services = build_services(settings)
    report = _Report(dry_run, as_json=as_json)
    try:
        if not (dry_run or force) and await services.reconciler.is_misplaced():
            raise ConfigurationError(
                "there are pictures but not a single record, as if the records were lost or another deployment's: "
                "look at DATA_DIR, or BUCKET_NAME and TABLE_NAME; --force removes the pictures"
            )
        await _reconcile(services, _moment(older_than), report)
    finally:
        await services.close()
    click.echo(report.summary())
    return report.is_clean


async def _reconcile(services: Services, before: dt.datetime, report: "_Report") -> None:
    length = (
        2 * (await services.images.usage(None, owner=None)).images
    )  # records, originals; how many others is not known
    is_shown = sys.stderr.isatty()
    with click.progressbar(
        length=length,
        label="Looking",
        file=sys.stderr,
        hidden=not is_shown,
        update_min_steps=max(1, length // MOST_STEPS),
    ) as bar:
        async with aclosing(services.reconciler.find(before)) as found:
            async for each in found:
                if not isinstance(each, Finding):
                    report.looked_at += 1
                    bar.update(1)
                    continue
                if not report.dry_run:
                    await services.reconciler.mend(each)
                if is_shown:
                    click.echo(CLEAR, nl=False, err=True)
                click.echo(report.line(each))


def _moment(older_than: dt.timedelta) -> dt.datetime:
    """Return the moment before which is what is old enough, or everything for no time at all.

    Stores tell the time in whole seconds: what they call younger than such a second is so.
    """
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    if not older_than:
        return now + SECOND
    return now - older_than if older_than < now - BEGINNING else BEGINNING


class _Report:
    """What was found, as lines and in sum."""

    def __init__(self, dry_run: bool, *, as_json: bool) -> None:
        self.dry_run = dry_run
        self._as_json = as_json
        self.looked_at = 0
        self._kinds: Counter[str] = Counter()
        self._size = 0

    @property
    def is_clean(self) -> bool:
        return not self._kinds if self.dry_run else not self._kinds[LOST]

    def line(self, finding: Finding) -> str:
        self._kinds[finding.kind] += 1
        self._size += finding.size
        if self._as_json:
            told = {name: getattr(finding, name) for name in ("kind", "what", "size", "detail")}
            return _json({"done": self._done(finding), **told})
        detail = ", ".join(part for part in (finding.detail, in_words(finding.size) if finding.size else "") if part)
        return f"{self._done(finding)}: {finding.kind}: {finding.what}" + (f" ({detail})" if detail else "")

    def _done(self, finding: Finding) -> str:
        if finding.kind == LOST:
            return "LOST"
        if finding.handle is None or finding.kind == "entry without a record":
            return "would remove" if self.dry_run else "removed"
        return "would mend" if self.dry_run else "mended"

    def summary(self) -> str:
        if self._as_json:
            counts = dict(sorted(self._kinds.items()))
            return _json({"type": "summary", "looked_at": self.looked_at, "counts": counts, "bytes": self._size})
        lines = [f"Looked at {_number(self.looked_at, 'record or object', 'records and objects')}."]
        lines += [f"{number:8,} x {kind}" for kind, number in sorted(self._kinds.items())]
        others, lost = self._kinds.total() - self._kinds[LOST], self._kinds[LOST]
        if not self._kinds:
            lines.append("Everything agrees.")
        if others:
            is_not_done = "Nothing was changed. Without --dry-run: " if self.dry_run else ""
            lines.append(f"{is_not_done}{others:,} put right, {in_words(self._size)} freed.")
        if lost:
            lines.append(f"{_number(lost, 'image is', 'images are')} LOST: restore the bytes, or delete what has none.")
        return "\n".join(lines)


def _json(thing: object) -> str:
    return msgspec.json.encode(thing).decode()


def _number(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
