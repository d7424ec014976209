"""What libvips says of pictures on the way must neither end the process nor fill the log."""

import logging
import struct
import subprocess
import sys

import pytest

from src.common.errors import UndecodableImage
from src.common.payload import Payload
from src.imaging.inspect import Inspector
from tests.support.pictures import ENCODERS, noise, picture
from tests.support.server import ROOT

INSPECTOR = Inspector(max_pixels=1_000_000)
# GLib ends the process if something is logged while something is being logged. A logging handler written in Python can
# be where the garbage collector frees a damaged picture, and libvips has a warning for that: here it always is.
COLLECTING = """
import gc, logging
import src.imaging.inspect as inspect
from src.common.errors import UndecodableImage
from src.common.payload import Payload
from tests.support.pictures import noise

class Collecting(logging.Handler):
    def emit(self, record):
        gc.collect()

logging.basicConfig(level=logging.INFO, handlers=[Collecting()])
gc.disable()
damaged = noise(40, 40, "jpeg")[:-200]
knot = [inspect.pyvips.Image.jpegload_buffer(damaged, access="sequential")]
knot[0].avg()
knot.append(knot)
del knot
try:
    inspect.Inspector(max_pixels=10_000).inspect(Payload.of(damaged))
except UndecodableImage:
    gc.collect()
    print("alive")
"""


def test_a_damaged_picture_does_not_end_the_process() -> None:
    """Whatever the garbage collector frees meanwhile."""
    done = subprocess.run([sys.executable, "-c", COLLECTING], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.parametrize("name", ENCODERS)
def test_a_picture_is_inspected_without_a_word(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The request's own line says all there is to say, at the level that is the default."""
    with caplog.at_level(logging.INFO):
        INSPECTOR.inspect(Payload.of(picture(name)))
        with pytest.raises(UndecodableImage):
            INSPECTOR.inspect(Payload.of(noise(60, 50, name)[:-300]))
    assert caplog.messages == []


def test_nothing_is_said_on_standard_error_either(capfd: pytest.CaptureFixture[str]) -> None:
    """Where every line is JSON."""
    for name in ENCODERS:
        with pytest.raises(UndecodableImage):
            INSPECTOR.inspect(Payload.of(noise(60, 50, name)[:-300]))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("edge", [100_000_001, 1 << 31, (1 << 32) - 1])
def test_nothing_is_said_of_a_size_that_is_none(edge: int, capfd: pytest.CaptureFixture[str]) -> None:
    """An AVIF says its size in 32 bits (ISO/IEC 23008-12, 6.5.3), more than libvips can pass on."""
    data = bytearray(picture("avif"))
    struct.pack_into(">I", data, data.index(b"ispe") + 8, edge)
    with pytest.raises(UndecodableImage):
        INSPECTOR.inspect(Payload.of(bytes(data)))
    assert capfd.readouterr().err == ""
