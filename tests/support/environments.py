"""Virtual environments beside the tests' own, for what must not see them or be seen."""

import subprocess
import sys
from pathlib import Path

from filelock import FileLock


def ensure_venv(directory: Path, pins: Path) -> None:
    """Make an environment as it is pinned; a second call does nothing, and one at the same time waits."""
    with FileLock(directory.with_suffix(".lock")):
        stamp = directory / "requirements.stamp"
        wanted = pins.read_text()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        pip = [directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", pins], check=True)
        stamp.write_text(wanted)
