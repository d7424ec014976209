"""Image Service: upload pictures with metadata, list and filter them, hand out links, delete them.

`Client` and `AsyncClient` call one; `errors` holds what they raise.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import AsyncClient as AsyncClient
    from .client import Client as Client
    from .client import UploadedImage as UploadedImage
    from .client import errors as errors

VERSION = "0.1.0"

_MODULE_OF = {
    "AsyncClient": ".client",
    "Client": ".client",
    "UploadedImage": ".client",
    "errors": ".client",
}


def __getattr__(name: str) -> object:
    """Load the client when it is asked for: the service, a function above all, starts without it and httpx."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name], __name__), name)
