"""Of libvips' decoders, only those of accepted formats can be reached."""

import pytest

from src.imaging.vips import pyvips
from tests.support.pictures import ENCODERS, picture

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


@pytest.mark.parametrize("name", ENCODERS)
def test_accepted_formats_are_found_by_their_looks(name: str) -> None:
    source = pyvips.Source.new_from_memory(picture(name, 30, 20))
    small = pyvips.Image.thumbnail_source(source, 15)
    assert (small.width, small.height) == (15, 10)


def test_others_are_not() -> None:
    with pytest.raises(pyvips.Error):
        pyvips.Image.new_from_buffer(SVG, "")
    with pytest.raises(pyvips.Error):
        pyvips.Image.thumbnail_source(pyvips.Source.new_from_memory(SVG), 10)


def test_the_others_are_there_to_be_found() -> None:
    """Else the test above could not fail."""
    pyvips.operation_block_set("VipsForeignLoadSvg", False)
    try:
        assert pyvips.Image.new_from_buffer(SVG, "").width == 1
    finally:
        pyvips.operation_block_set("VipsForeignLoadSvg", True)
