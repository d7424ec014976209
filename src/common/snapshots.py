"""What several server processes have counted, as files of a directory that their parent makes.

Each process replaces a file of its own, so that nobody reads half of one, and the parent keeps one of those that died.
"""

import logging
import shutil
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec

from .metrics import METRICS, Complaint, Labels

log = logging.getLogger(__name__)

SUFFIX = ".counts"
_DEAD = "dead"  # the name of the parent's own file
_GAUGES = frozenset(metric.name for metric in METRICS if metric.kind == "gauge")

type Key = tuple[str, Labels]  # with the metric's name


class Counts(msgspec.Struct):
    """A number of each counter and gauge; of a histogram, how many are in each bucket, and behind them the sum."""

    values: dict[Key, float] = {}
    histograms: dict[Key, list[float]] = {}

    def plus(self, *others: "Counts") -> "Counts":
        values, histograms = dict(self.values), {key: list(each) for key, each in self.histograms.items()}
        for other in others:
            for key, value in other.values.items():
                values[key] = values.get(key, 0) + value
            for key, added in other.histograms.items():
                known = histograms.get(key)
                histograms[key] = [a + b for a, b in zip(known, added, strict=True)] if known else list(added)
        return Counts(values, histograms)

    def without_gauges(self) -> "Counts":
        return Counts({key: value for key, value in self.values.items() if key[0] not in _GAUGES}, self.histograms)


class Snapshot(msgspec.Struct):
    counts: Counts
    pid: int | None = None  # of one that lives
    names: list[str] = []  # of the dead whose counts are in it, and whose files may still be there


class SharedCounts:
    """The file of a process, and those of the others. Names are used once in the life of a server, unlike pids."""

    def __init__(self, directory: Path, *, name: str, pid: int) -> None:
        self._directory = directory
        self._name = name
        self._pid = pid
        self._lock = threading.Lock()

    def write(self, counts: Counts) -> None:
        """Raise OSError, after which the file is as it was. Any thread may call, and others go on counting."""
        with self._lock:
            _write(self._directory, self._name, Snapshot(counts, self._pid))

    def of_others(self) -> list[Snapshot]:
        """Raise OSError if they can't be had."""
        names = {path.stem for path in self._directory.iterdir() if path.suffix == SUFFIX}
        found = {name: _read(self._directory, name) for name in names - {self._name, _DEAD}}
        # Last, so that what comes to it meanwhile is neither missed nor there twice.
        dead = found[_DEAD] = _read(self._directory, _DEAD)
        for name in dead.names if dead else ():
            found.pop(name, None)
        return [snapshot for snapshot in found.values() if snapshot]


class Remains:
    """What processes had counted that are dead. The parent keeps it, and the directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._snapshot = Snapshot(Counts())
        self._complaint = Complaint(log, "what dead processes counted can't be kept")

    def take(self, alive: Collection[str]) -> None:
        """Take over the files of all but these. What fails is tried again the next time."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)  # it may have been cleaned away
            self._take([path for path in self._directory.iterdir() if path.stem not in {*alive, _DEAD}])
            self._complaint.settle()
        except (OSError, msgspec.MsgspecError):
            self._complaint.make()

    def _take(self, left: list[Path]) -> None:
        known = [name for name in self._snapshot.names if self._directory / f"{name}{SUFFIX}" in left]
        new = [path.stem for path in left if path.suffix == SUFFIX and path.stem not in known]
        is_missing = not (self._directory / f"{_DEAD}{SUFFIX}").exists()
        if new or is_missing:
            found = filter(None, (_read(self._directory, name) for name in new))
            counts = self._snapshot.counts.plus(*(each.counts.without_gauges() for each in found))
            snapshot = Snapshot(counts, names=[*known, *new])
            _write(self._directory, _DEAD, snapshot)
            self._snapshot = snapshot
        for path in left:
            path.unlink(missing_ok=True)


def discard(directory: Path) -> None:
    """Remove the directory for good, as well as it goes, while others may still write to it."""
    with suppress(OSError):
        shutil.rmtree(directory.rename(f"{directory}-gone"))


def _write(directory: Path, name: str, snapshot: Snapshot) -> None:
    path = directory / f"{name}{SUFFIX}"
    temporary = path.with_suffix(".tmp")
    data = msgspec.msgpack.encode(snapshot)  # which lets no other thread in meanwhile
    try:
        with temporary.open("xb") as file:  # and follow no link
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _read(directory: Path, name: str) -> Snapshot | None:
    """Return None if there is none (any more)."""
    try:
        return msgspec.msgpack.decode((directory / f"{name}{SUFFIX}").read_bytes(), type=Snapshot)
    except FileNotFoundError:
        return None
