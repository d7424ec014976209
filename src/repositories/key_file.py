"""A secret that is made once and kept in a file only its owner can read."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from ..common.durable import sync

LENGTH = 32  # random bytes, and so more characters


def load_or_create_key(path: Path) -> str:
    """Return the key in `path`, made first if there is none. Several processes may call it at once.

    Raises OSError if it can be neither read nor made.
    """
    if not path.exists():
        # mkstemp makes the file 0600. A link, unlike a rename, never replaces the key that another process made.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(LENGTH))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()
        sync(path.parent)
    key = path.read_text(encoding="ascii", errors="replace").strip()
    if len(key) < LENGTH or not key.isascii():
        raise OSError(f"{path} holds no key")
    return key
