"""The AWS Lambda entry point. Everything is loaded and built with the module, once per cold start."""

import gc

# Nothing that loads is garbage: to look for some, again and again, takes a sixteenth of a cold start.
gc.disable()

from typing import Any  # noqa: E402

from .gateway import build  # noqa: E402

_adapter = build()
gc.freeze()
gc.enable()


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one event of API Gateway or of a function URL."""
    return _adapter(event, context)
