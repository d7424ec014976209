"""`image-service reconcile`: the service's findings as lines of text, with a progress bar and a summary."""

import datetime as dt
import sys
from collections import Counter
from contextlib import aclosing

import click

from ..bootstrap import build_services
from ..common import logging
from ..common.config import Settings
from ..models.finding import LOST, Finding


async def run(settings: Settings, *, older_than: dt.timedelta, dry_run: bool) -> bool:
    """Find, and unless it is a dry run mend. Return whether nothing is left.

    Raises ConfigurationError or StoreError.
    """
    logging.configure("WARNING")
    services = build_services(settings)
    before = dt.datetime.now(dt.UTC) - older_than
    kinds: Counter[str] = Counter()
    size = looked_at = 0
    try:
        length = 2 * (await services.images.usage(None)).images  # records, originals; how many others is not known
        with click.progressbar(length=length, label="Looking", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
            async with aclosing(services.reconciler.find(before)) as found:
                async for each in found:
                    if not isinstance(each, Finding):
                        looked_at += 1
                        bar.update(1)
                        continue
                    if not dry_run:
                        await services.reconciler.mend(each)
                    kinds[each.kind] += 1
                    size += each.size
                    click.echo(_line(each, dry_run=dry_run))
    finally:
        await services.close()
    click.echo(_summary(kinds, size=size, looked_at=looked_at, dry_run=dry_run))
    return not kinds if dry_run else not kinds[LOST]


def _line(finding: Finding, *, dry_run: bool) -> str:
    if finding.kind == LOST:
        done = "LOST"
    elif finding.handle is None or finding.kind == "entry without a record":
        done = "would remove" if dry_run else "removed"
    else:
        done = "would mend" if dry_run else "mended"
    parts = [f"{done}: {finding.kind}", finding.what, finding.detail, f"{finding.size} bytes" if finding.size else ""]
    return "  ".join(part for part in parts if part)


def _summary(kinds: Counter[str], *, size: int, looked_at: int, dry_run: bool) -> str:
    lines = [f"Looked at {looked_at} records and objects."]
    lines += [f"  {number} x {kind}" for kind, number in sorted(kinds.items())]
    if not kinds:
        lines.append("Everything agrees.")
    elif dry_run:
        lines.append(f"Nothing was changed; {size} bytes would be freed.")
    else:
        lines.append(f"{size} bytes were freed.")
    if kinds[LOST]:
        lines.append("The bytes of those images that are LOST are gone: restore them, or delete the images.")
    return "\n".join(lines)
