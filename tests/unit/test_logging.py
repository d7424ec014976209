"""The lines of the log."""

import json
import logging

import pytest
from pythonjsonlogger.msgspec import MsgspecFormatter

from src.common.logging import JsonFormatter, request_id


def line_of(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, object]:
    line: dict[str, object] = json.loads(formatter.format(record))
    return line


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"method": "GET", "route": "/images", "status": 200, "duration_ms": 1.25, "image_id": None},
        {"said": 'a "word"\n\u2028', "several": ["a", 1], "of": {"b": None}},
        {"what_no_json_is": object, "set": {1}},
    ],
)
def test_a_plain_line_is_the_library_s(extra: dict[str, object]) -> None:
    """It is written in a shorter way, and comes to the same."""
    record = logging.makeLogRecord({"name": "src.x", "levelname": "INFO", "msg": "it 100% happened", **extra})
    token = request_id.set("abc")
    try:
        line = line_of(JsonFormatter(), record)
    finally:
        request_id.reset(token)
    assert list(line)[:5] == ["time", "level", "logger", "request_id", "message"]
    assert (line.pop("level"), line.pop("logger"), line.pop("request_id")) == ("INFO", "src.x", "abc")
    assert line.pop("time")
    assert line == line_of(MsgspecFormatter("%(message)s"), record)


def test_the_time() -> None:
    record = logging.makeLogRecord({"msg": "", "created": 1_748_779_199.0625})
    assert line_of(JsonFormatter(), record)["time"] == "2025-06-01T11:59:59.062Z"
