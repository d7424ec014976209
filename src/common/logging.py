"""JSON log lines on standard error, each with the id of the request that it belongs to."""

import asyncio
import datetime as dt
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TextIO

import msgspec
from pythonjsonlogger.msgspec import MsgspecFormatter

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
# Of whoever traces the request: the members that its lines have besides, in hex.
trace_ids: ContextVar[Mapping[str, str] | None] = ContextVar("trace_ids", default=None)


_OWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__)  # of every record; the others are what is logged

_encode = msgspec.json.Encoder().encode


class JsonFormatter(MsgspecFormatter):
    def __init__(self) -> None:
        super().__init__("%(message)s", rename_fields={"exc_info": "traceback"})

    def format(self, record: logging.LogRecord) -> str:
        """Write the library's line for the plain ones, such as the one of each request, in a third of its time."""
        if record.args or record.exc_info or record.stack_info or not isinstance(record.msg, str):
            return super().format(record)
        line = {**_head(record.created, record.levelname, record.name), "message": record.msg}
        line.update(item for item in record.__dict__.items() if item[0] not in _OWN_FIELDS)
        try:
            return _encode(line).decode()
        except (TypeError, ValueError):  # the library knows a text for everything
            return super().format(record)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data.update(_head(record.created, record.levelname, record.name))
        super().add_fields(log_data, record, message_dict)


def info(logger: logging.Logger, message: str, fields: dict[str, Any]) -> None:
    """Log a line, as the logger does it itself, but past what costs more than the line: for one of every request."""
    if not logger.isEnabledFor(logging.INFO):
        return
    handlers = logging.getLogger().handlers
    if len(handlers) == 1 and isinstance(handlers[0], JsonHandler):
        line = {**_head(time.time(), "INFO", logger.name), "message": message, **fields}
        handlers[0].write(_encode(line).decode())
    else:  # somebody else listens
        logger.info(message, extra=fields)


class JsonHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error. In a server, the lines that come within one turn of the loop are written at once."""

    def __init__(self, *, in_server: bool) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonFormatter())
        self._in_server = in_server
        self._waiting: list[str] = []

    def write(self, line: str) -> None:
        """Write a line that is formatted already; on the loop's thread."""
        with self.lock or nullcontext():
            self._waiting.append(f"{line}\n")
            if not self._in_server:
                self.flush()
            elif len(self._waiting) == 1:
                asyncio.get_running_loop().call_soon(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        self.flush()
        super().emit(record)

    def flush(self) -> None:
        with self.lock or nullcontext():
            lines, self._waiting = self._waiting, []
            # Where nobody reads the log any more, the service goes on without one, as with the library's own handlers.
            with suppress(OSError, ValueError):
                if lines:
                    self.stream.write("".join(lines))
                super().flush()


def _head(created: float, level: str, logger: str) -> dict[str, str]:
    seconds, milliseconds = divmod(int(created * 1000), 1000)
    head = {"time": f"{_second(seconds)}.{milliseconds:03}Z", "level": level, "logger": logger}
    if (current := request_id.get()) is not None:
        head["request_id"] = current
    if (trace := trace_ids.get()) is not None:
        head.update(trace)
    return head


@lru_cache(maxsize=4)
def _second(timestamp: int) -> str:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def configure(level: str, *, in_server: bool = False) -> None:
    """Send every log line of the process, the libraries' too, to standard error as JSON."""
    # Python's logging HOWTO, "Optimization": no line of ours says these, and finding them out takes longest of all.
    for what in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        setattr(logging, what, None)
    root = logging.getLogger()
    root.handlers[:] = [JsonHandler(in_server=in_server)]
    root.setLevel(level)
    # Ours says the same with the route and the request id.
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("uvicorn", "uvicorn.error", "mangum.http"):
        # "Started server process" and the like: the start is announced once, by `serve`, and a request by us.
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
