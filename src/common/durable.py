"""Forcing files and names to the disk."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Force a file's bytes, or the names in a directory, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
