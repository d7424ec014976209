"""The lines of the log."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
from pythonjsonlogger.msgspec import MsgspecFormatter

from src.common.logging import JsonFormatter, configure, info, request_id


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


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    names = ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks")
    before = root.handlers[:], root.level, {name: getattr(logging, name, None) for name in names}
    yield
    root.handlers[:], level, values = before
    root.setLevel(level)
    for name, value in values.items():
        setattr(logging, name, value)


def test_the_line_of_a_request(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes past the library, and comes to the same."""
    logger, fields = logging.getLogger("src.x"), {"status": 200, "route": None}
    configure("INFO")
    info(logger, "request", fields)
    logger.info("request", extra=fields)
    configure("WARNING")
    info(logger, "not this one", fields)
    short, usual = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert short.pop("time") <= usual.pop("time")
    assert short == usual == {"level": "INFO", "logger": "src.x", "message": "request", **fields}


@pytest.mark.anyio
async def test_lines_in_a_server(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    """They are in order, and come in the loop's next turn or with what is logged in another way."""
    logger = logging.getLogger("src.x")

    def messages() -> list[str]:
        return [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]

    configure("INFO", in_server=True)
    info(logger, "a", {})
    info(logger, "b", {})
    assert messages() == []
    await asyncio.sleep(0)
    assert messages() == ["a", "b"]
    info(logger, "c", {})
    await asyncio.to_thread(logger.warning, "d")
    info(logger, "e", {})
    await asyncio.sleep(0)
    assert messages() == ["c", "d", "e"]
    info(logger, "f", {})
    logging.getLogger().handlers[0].flush()  # as Python does at its end
    assert messages() == ["f"]


def test_others_who_listen(restored: None, caplog: pytest.LogCaptureFixture) -> None:
    """They get it as from any logger."""
    caplog.set_level("INFO")
    info(logging.getLogger("src.x"), "request", {"status": 200})
    (record,) = caplog.records
    assert (record.name, record.message, record.status) == ("src.x", "request", 200)  # type: ignore[attr-defined]
