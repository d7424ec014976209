"""Names that downloads get in a directory, and errors that answers become: what is not worth a request."""

import inspect
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from src import AsyncClient, Client, errors
from src.client.problems import error_of
from src.client.sources import opened
from src.client.targets import safe_name
from src.common import errors as reported
from src.common.errors import ServiceError
from src.models.wire import LinkedImage, ListedImage
from tests.support.clients import ID, IMAGE_V1, problem


def image_called(filename: str) -> Any:
    return type(IMAGE_V1)(**{n: getattr(IMAGE_V1, n) for n in IMAGE_V1.__struct_fields__} | {"filename": filename})


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("cat.png", "cat.png"),
        ("süß.tar.png", "süß.tar.png"),
        ("no ending", "no ending"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\x.png", "x.png"),
        ("C:x.png", "x.png"),
        ("/", f"{ID}.png"),
        ("..", f"{ID}.png"),
        ("", f"{ID}.png"),
        (".bashrc", "bashrc"),
        ("a\0b\n\u202ec.png", "abc.png"),
        ("ü" * 255 + ".png", "ü" * 100 + ".png"),
        ("a." + "b" * 255, "a." + "b" * 198),
    ],
)
def test_a_name_leads_nowhere_else(filename: str, expected: str, tmp_path: Path) -> None:
    name = safe_name(image_called(filename))
    assert name == expected
    (tmp_path / name).write_bytes(b"")  # a file system takes it
    assert [path.name for path in tmp_path.iterdir()] == [expected]


def test_a_rendition_has_its_own_ending() -> None:
    answer = httpx.Response(200, headers={"Content-Type": "image/webp"})
    assert safe_name(image_called("cat.png"), answer) == "cat.webp"
    assert safe_name(image_called("no ending"), answer) == "no ending.webp"
    unknown = httpx.Response(200, headers={"Content-Type": "text/html"})
    assert safe_name(image_called("cat.png"), unknown) == "cat.png"


def test_a_name_that_an_image_may_not_have_is_not_sent(tmp_path: Path) -> None:
    for name, expected in (("a.png", "a.png"), ("a\n.png", None), ("\udcff.png", None)):
        path = tmp_path / name
        path.write_bytes(b"x")
        with opened(path) as prepared:
            assert prepared().name == expected


CODES = {cls.code: cls for cls in vars(reported).values() if isinstance(cls, type) and issubclass(cls, ServiceError)}


@pytest.mark.parametrize("code", sorted(set(CODES) - {"internal_error"}))
def test_every_error_comes_back_as_it_was_raised(code: str) -> None:
    answer = problem(400, code, **{"WWW-Authenticate": 'Bearer realm="x", scope="s"', "Content-Range": "bytes */9"})
    answer.request = httpx.Request("GET", "http://service/")
    error = error_of(answer)
    assert type(error) is CODES[code]
    assert (str(error), error.detail, error.status, error.request_id) == ("Why.", "Why.", 400, "r1")
    assert getattr(error, "scope", "s") == "s"
    assert getattr(error, "size", 9) == 9


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_help_shows_what_a_method_takes_and_returns(cls: type) -> None:
    get = inspect.signature(cls.get)  # type: ignore[attr-defined]
    assert list(get.parameters)[:5] == ["self", "image_id", "download", "expires_in", "width"]
    assert get.return_annotation is LinkedImage
    images = inspect.signature(cls.images)  # type: ignore[attr-defined]
    assert "exclude_tags" in images.parameters
    assert get_args(images.return_annotation) == (ListedImage,)
    assert cls.images.__doc__.startswith("Iterate over")  # type: ignore[attr-defined]


def test_one_module_has_all_errors() -> None:
    assert errors.ImageNotFound is reported.ImageNotFound
    assert issubclass(errors.ServiceUnreachable, errors.ServiceError)
    assert issubclass(errors.UnexpectedAnswer, errors.ServiceError)
