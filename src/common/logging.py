"""JSON log lines on standard error, each with the id of the request that it belongs to."""

import datetime as dt
import logging
import sys
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.msgspec import MsgspecFormatter

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class JsonFormatter(MsgspecFormatter):
    def __init__(self) -> None:
        super().__init__("%(message)s", rename_fields={"exc_info": "traceback"})

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        log_data["time"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        if (current := request_id.get()) is not None:
            log_data["request_id"] = current
        super().add_fields(log_data, record, message_dict)


def configure(level: str) -> None:
    """Send every log line of the process, the libraries' too, to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Ours says the same with the route and the request id.
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("uvicorn", "uvicorn.error", "mangum.http"):
        # "Started server process" and the like: the start is announced once, by `serve`, and a request by us.
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
