"""What a service needs of the machine that it runs on: room, files, and what decodes pictures."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..common.config import Settings
from ..common.sizes import in_words
from ..models.check import Check

ROOM = 1 << 30  # bytes below which a disk is as good as full
FILES = 1_024  # that a process may have open: a connection is one, and so is what it reads
# SQLite's write-ahead log takes memory that processes share, which these don't have (sqlite.org/wal.html).
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "glusterfs", "ceph"}
)


def of(settings: Settings) -> Iterator[Check]:
    yield _decoders()
    yield _open_files()
    if settings.storage == "local":
        yield from _data_dir(settings.data_dir.absolute())
    else:
        yield _room("temporary files", Path(tempfile.gettempdir()), "TMPDIR wants a directory with more")


def _decoders() -> Check:
    try:
        from ..imaging.vips import pyvips
    except (ImportError, OSError) as error:
        return Check(
            name="decoder",
            status="failed",
            detail=f"libvips can't be loaded: {error}",
            advice="install the packages that requirements/runtime.txt pins",
        )
    version = ".".join(str(pyvips.version(part)) for part in range(3))
    return Check(name="decoder", status="ok", detail=f"libvips {version}")


def _open_files() -> Check:
    try:
        import resource
    except ImportError:  # not on Windows
        return Check(name="open files", status="ok", detail="no limit is known")
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_enough = most == resource.RLIM_INFINITY or most >= FILES
    return Check(
        name="open files",
        status="ok" if is_enough else "warning",
        detail="any number" if most == resource.RLIM_INFINITY else f"at most {most}",
        advice=None if is_enough else f"raise the limit to {FILES} or more (ulimit -n, or LimitNOFILE of systemd)",
    )


def _data_dir(directory: Path) -> Iterator[Check]:
    # One that may not be entered says of what is in it that it is not there.
    place = next(path for path in (directory, *directory.parents) if os.path.exists(path))  # noqa: PTH110
    if not place.is_dir():
        yield Check(
            name="DATA_DIR",
            status="failed",
            detail=f"{place} is no directory",
            advice="DATA_DIR wants a directory, which need not be there yet",
        )
        return
    if not os.access(place, os.W_OK | os.X_OK):
        yield Check(
            name="DATA_DIR",
            status="failed",
            detail=f"{place} can't be written to by user id {os.geteuid()}",
            advice=f"chown -R {os.geteuid()} {directory}, or another DATA_DIR",
        )
        return
    yield _room("DATA_DIR", place, "make room, or choose another DATA_DIR")
    kind = _filesystem(place)
    if kind in NETWORK:
        yield Check(
            name="DATA_DIR",
            status="warning",
            detail=f"{place} is on a network file system ({kind}), on which SQLite's log does not work safely",
            advice="DATA_DIR wants a disk of this machine",
        )
    key = directory / "url_signing_key"
    if os.access(key, os.F_OK) and key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Check(
            name="url_signing_key",
            status="warning",
            detail=f"others on this machine may read {key}, and so make links to everything",
            advice=f"chmod 600 {key}; if somebody did, delete it and start anew: all links end then",
        )


def _room(name: str, place: Path, advice: str) -> Check:
    free = shutil.disk_usage(place).free
    is_enough = free >= ROOM
    return Check(
        name=name,
        status="ok" if is_enough else "warning",
        detail=f"{in_words(free)} free at {place}",
        advice=None if is_enough else advice,
    )


def _filesystem(path: Path) -> str:
    """Return the type of the file system that a path is on, where Linux tells it."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    resolved = path.resolve()
    holding = [(point, kind) for point, kind in mounts if resolved.is_relative_to(point.replace("\\040", " "))]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else ""
