"""Reading parameters: whatever is said becomes a value within its bounds, or a refusal that names the field."""

import datetime as dt
import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.common.errors import InvalidRequest
from src.common.ids import is_id, new_id
from src.common.validation import normal_description, normal_filename, normal_tags
from src.handlers.fields import DeleteFields, NewUploadFields, PatchFields, UploadFields
from src.handlers.parameters import Reader, Wants
from src.handlers.queries import ImageParameters, ListParameters
from src.models.image import EXTENSION_OF
from src.models.rendition import Fit, Position, RenditionFormat

READERS: dict[type[msgspec.Struct], Reader[Any]] = {
    model: Reader(model)
    for model in (ListParameters, ImageParameters, UploadFields, NewUploadFields, PatchFields, DeleteFields)
}
ID = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"
# What has to be said.
REQUIRED: dict[type[msgspec.Struct], dict[str, list[Any]]] = {
    NewUploadFields: {"content_type": ["image/png"], "size": [1]},
    DeleteFields: {"image_ids": [[ID]]},
}


def are_tags(value: tuple[str, ...]) -> bool:
    return len(value) <= 20 and len(set(value)) == len(value) and all(0 < len(tag) <= 64 for tag in value)


def is_user_id(value: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9._@:|+-]{1,128}", value) is not None


def is_edge(value: int | None) -> bool:
    return value is not None and 1 <= value <= 2**31


def is_rendition_edge(value: int | None) -> bool:
    return value is not None and 1 <= value <= 4_096


def is_filename(value: str) -> bool:
    return 1 <= len(value) <= 255


def is_description(value: str) -> bool:
    return len(value) <= 2_000


UPLOAD_BOUNDS: dict[str, Callable[[Any], bool]] = {
    "user_id": is_user_id,
    "filename": is_filename,
    "tags": are_tags,
    "description": is_description,
    "width": is_edge,
    "height": is_edge,
    "on_duplicate": lambda value: value in ("store", "return"),
}
# What each field may be once it was read, as the API's documentation says.
BOUNDS: dict[type[msgspec.Struct], dict[str, Callable[[Any], bool]]] = {
    ListParameters: {
        "user_id": is_user_id,
        "tags": are_tags,
        "tag_mode": lambda value: value in ("all", "any"),
        "exclude_tags": are_tags,
        "created_after": lambda value: value.utcoffset() is not None,
        "created_before": lambda value: value.utcoffset() is not None,
        "order": lambda value: value in ("newest", "oldest"),
        "limit": lambda value: 1 <= value <= 100,
        "last_key": is_id,
        "include": lambda value: set(value) == {"urls"},
        "thumbnail_size": is_rendition_edge,
    },
    ImageParameters: {
        "width": is_rendition_edge,
        "height": is_rendition_edge,
        "fit": lambda value: value in ("cover", "contain", "inside", "fill"),
        "position": lambda value: value in get_args(Position),
        "enlarge": lambda value: value in (True, False),
        "format": lambda value: value in ("auto", "jpeg", "png", "webp", "avif"),
        "quality": lambda value: value is not None and 1 <= value <= 100,
        "download": lambda value: value in (True, False),
        "expires_in": lambda value: value is not None and 1 <= value <= 604_800,
    },
    UploadFields: UPLOAD_BOUNDS,
    NewUploadFields: {
        **UPLOAD_BOUNDS,
        "content_type": lambda value: value in EXTENSION_OF,
        "size": lambda value: 1 <= value <= 2**40,
        "sha256": lambda value: re.fullmatch(r"[0-9a-f]{64}", value) is not None,
        "image_id": is_id,
        "version": lambda value: 1 <= value <= 2**31,
        "updated_at": lambda value: value.utcoffset() == dt.timedelta(),
    },
    PatchFields: {"filename": is_filename, "tags": are_tags, "description": is_description},
    DeleteFields: {"image_ids": lambda value: 1 <= len(value) <= 100 and all(isinstance(id_, str) for id_ in value)},
}
# Those that come as JSON.
BODIES = {UploadFields, NewUploadFields, PatchFields, DeleteFields}
FIELDS = [(model, name) for model, bounds in BOUNDS.items() for name in bounds]
MANY = {"tags", "exclude_tags", "include"}
SINGLE = [(model, name) for model, name in FIELDS if name not in MANY]
NUMBERS = [
    (ListParameters, "limit"),
    (ListParameters, "thumbnail_size"),
    (ImageParameters, "expires_in"),
    (ImageParameters, "width"),
    (ImageParameters, "height"),
    (ImageParameters, "quality"),
    (UploadFields, "width"),
    (UploadFields, "height"),
    (NewUploadFields, "size"),
    (NewUploadFields, "version"),
]
BAD_UPLOAD = {
    "user_id": "",
    "filename": "..",
    "tags": ",".join(map(str, range(21))),
    "description": "\x07",
    "width": "-1",
    "height": "wide",
    "on_duplicate": "replace",
}
# Something that each field refuses.
BAD: dict[type[msgspec.Struct], dict[str, str]] = {
    ListParameters: {
        "user_id": "a b",
        "tags": "a\0b",
        "tag_mode": "some",
        "exclude_tags": "x" * 65,
        "created_after": "yesterday",
        "created_before": "2026-01-31T09:30:00",  # without a zone it is no moment
        "order": "random",
        "limit": "101",
        "last_key": "{}",
        "include": "everything",
        "thumbnail_size": "4097",
    },
    ImageParameters: {
        "width": "0",
        "height": "4097",
        "fit": "crop",
        "position": "center",
        "enlarge": "yes please",
        "format": "gif",
        "quality": "101",
        "download": "perhaps",
        "expires_in": "0",
    },
    UploadFields: BAD_UPLOAD,
    NewUploadFields: {
        **BAD_UPLOAD,
        "content_type": "image/svg+xml",
        "size": "1.5",
        "sha256": "0" * 63,
        "image_id": ID.upper(),
        "version": "0",
        "updated_at": "2026-01-31",
    },
    PatchFields: {"filename": "a/", "tags": "x" * 65, "description": "x" * 2_001},
    DeleteFields: {"image_ids": ID},  # one alone is no list
}

# Texts that are nearly right, among any others.
texts = (
    st.text()
    | st.integers().map(str)
    | st.integers(-1, 110).map(str)
    | st.floats().map(str)
    | st.datetimes(timezones=st.none() | st.timezones()).map(dt.datetime.isoformat)
    | st.sampled_from(
        [
            "all",
            "any",
            "newest",
            "oldest",
            "urls",
            "store",
            "return",
            "true",
            "false",
            "null",
            "1e2",
            "١",
            *get_args(Position),
            *get_args(Fit),
            *get_args(RenditionFormat),
            "auto",
        ]
    )
    | st.from_regex(r"[A-Za-z0-9._@:|+-]{1,130}", fullmatch=True)
    | st.builds(lambda: json.dumps({"image_id": new_id()}))
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
).filter(lambda value: value is not None)  # a member that is null was not said


def read(model: type[msgspec.Struct], values: dict[str, list[Any]]) -> Any:
    return READERS[model].read({**REQUIRED.get(model, {}), **values})


def fields_refused(model: type[msgspec.Struct], values: dict[str, list[Any]]) -> set[str]:
    with pytest.raises(InvalidRequest) as refusal:
        read(model, values)
    assert all(error.message for error in refusal.value.errors)
    assert all(f"{error.field}: {error.message}" in str(refusal.value) for error in refusal.value.errors)
    assert len(refusal.value.errors) == len({error.field for error in refusal.value.errors})
    return {error.field for error in refusal.value.errors}


def assert_read_or_refused(model: type[msgspec.Struct], name: str, value: object) -> None:
    refused: list[str] = []
    try:
        found = read(model, {name: [value]})
    except InvalidRequest as refusal:
        refused = [error.field for error in refusal.errors]
    if refused:
        assert refused == [name]
        return
    assert BOUNDS[model][name](getattr(found, name))
    # Nothing else has moved from its default.
    plain = read(model, {})
    assert msgspec.structs.replace(found, **{name: getattr(plain, name)}) == plain


def test_every_field_is_tried() -> None:
    for model, bounds in BOUNDS.items():
        assert set(bounds) == set(BAD[model]) == set(model.__struct_fields__)


@pytest.mark.parametrize(("model", "name"), FIELDS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_text_is_read_or_refused_by_name(model: type[msgspec.Struct], name: str, data: st.DataObject) -> None:
    assert_read_or_refused(model, name, data.draw(texts))


@pytest.mark.parametrize(("model", "name"), [entry for entry in FIELDS if entry[0] in BODIES])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_json_value_is_read_or_refused_by_name(model: type[msgspec.Struct], name: str, data: st.DataObject) -> None:
    assert_read_or_refused(model, name, data.draw(json_values))


@pytest.mark.parametrize(("model", "name"), SINGLE)
def test_a_single_value_may_not_be_repeated(model: type[msgspec.Struct], name: str) -> None:
    """Not even if both are the same: a reader that took either could be told two things."""
    assert fields_refused(model, {name: ["1", "1"]}) == {name}


@pytest.mark.parametrize(("model", "name"), [(model, name) for model, names in REQUIRED.items() for name in names])
def test_what_has_to_be_said(model: type[msgspec.Struct], name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name}: wants .*, got nothing") as refusal:
        READERS[model].read({other: value for other, value in REQUIRED[model].items() if other != name})
    assert [error.field for error in refusal.value.errors] == [name]


@pytest.mark.parametrize("model", BOUNDS)
def test_unknown_names_are_refused(model: type[msgspec.Struct]) -> None:
    assert fields_refused(model, {"lmit": ["1"], "": ["x"]}) == {"lmit", ""}


@pytest.mark.parametrize("model", BOUNDS)
def test_all_faults_are_named_at_once(model: type[msgspec.Struct]) -> None:
    values = {name: [bad] for name, bad in BAD[model].items()} | {"unknown": ["x"], "other": ["y"]}
    assert fields_refused(model, values) == set(values)


@pytest.mark.parametrize(("number", "size"), [(1.0, 1), (1e6, 1_000_000)])
def test_a_whole_number_is_an_integer_however_json_spells_it(number: float, size: int) -> None:
    assert read(NewUploadFields, {"size": [number]}).size == size


@pytest.mark.parametrize("number", [1.5, 0.0, -1.0, 1e300])
def test_another_number_is_none(number: float) -> None:
    assert fields_refused(NewUploadFields, {"size": [number]}) == {"size"}


@pytest.mark.parametrize(("model", "name"), NUMBERS)
@pytest.mark.parametrize(
    "text", ["", " ", " 1", "+1", "1_0", "0x1", "one", "-1", "0", "1.5", "1e400", "９", "9" * 5_000]
)
def test_what_is_no_integer(model: type[msgspec.Struct], name: str, text: str) -> None:
    assert fields_refused(model, {name: [text]}) == {name}


@pytest.mark.parametrize(("model", "name"), NUMBERS)
@pytest.mark.parametrize("text", ["null", "NULL", "true"])
def test_a_word_is_no_integer(model: type[msgspec.Struct], name: str, text: str) -> None:
    """In a query or a form there is no null: whoever sends the word has a bug, and hears of it."""
    assert fields_refused(model, {name: [text]}) == {name}


@pytest.mark.parametrize(
    ("name", "value"), [("limit", 1), ("limit", 100), ("thumbnail_size", 1), ("thumbnail_size", 4_096)]
)
def test_the_bounds_of_a_number(name: str, value: int) -> None:
    assert getattr(read(ListParameters, {name: [str(value)]}), name) == value


def test_the_bounds_of_a_life() -> None:
    assert [read(ImageParameters, {"expires_in": [text]}).expires_in for text in ("1", "604800")] == [1, 604_800]
    assert fields_refused(ImageParameters, {"expires_in": ["604801"]}) == {"expires_in"}


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("false", False), ("1", True), ("0", False), ("True", True), ("FALSE", False)]
)
def test_the_spellings_of_truth(text: str, value: bool) -> None:
    assert read(ImageParameters, {"download": [text]}).download is value


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-01-31T09:30:00Z", "2026-01-31T09:30:00+00:00"),
        ("2026-01-31T09:30:00.123456Z", "2026-01-31T09:30:00.123456+00:00"),
        ("2026-01-31T09:30:00-05:00", "2026-01-31T14:30:00+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59+00:00"),
    ],
)
def test_moments(text: str, iso: str) -> None:
    """RFC 3339, with its zone."""
    assert read(ListParameters, {"created_after": [text]}).created_after == dt.datetime.fromisoformat(iso)


@pytest.mark.parametrize(
    "text", ["", "0", "1769851800", "2026-01-31", "2026-01-31T09:30:00", "2026-02-30T00:00:00Z", "2026-01-31T24:00:00Z"]
)
def test_what_is_no_moment(text: str) -> None:
    assert fields_refused(ListParameters, {"created_before": [text]}) == {"created_before"}


def test_every_cursor_round_trips() -> None:
    """A `last_key` as a page gave it, in any JSON spelling, gives its id back."""
    for image_id in (new_id() for _ in range(100)):
        for text in (json.dumps({"image_id": image_id}), f' {{"image_id":"{image_id}"}}\n'):
            assert read(ListParameters, {"last_key": [text]}).last_key == image_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "null",
        "[]",
        "{}",
        '""',
        "1e999",
        "NaN",
        "Infinity",
        '{"foo": 1}',
        '{"image_id": 1}',
        '{"image_id": null}',
        '{"image_id": "x"}',
        '{"image_id": NaN}',
        f'{{"image_id": "{ID}", "more": 1}}',
        f'{{"image_id": "{ID}"}} x',
        f'[{{"image_id": "{ID}"}}]',
        f'{{"image_id": "{ID.upper()}"}}',
        f'"{ID}"',
        ID,
        "[" * 100_000,
        '{"image_id":' * 100_000,
        '{"image_id": %s}' % ("9" * 5_000),
        '{"image_id": "\\ud800"}',
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_cursor(text: str) -> None:
    assert fields_refused(ListParameters, {"last_key": [text]}) == {"last_key"}


tag_texts = st.text(max_size=70) | st.text(alphabet=" ,aAÄßİǰ\u0301\u0345\u0399\u1e9e\u2000", max_size=30)


@settings(deadline=None, max_examples=300)
@given(st.lists(tag_texts, max_size=12))
def test_the_normal_form_of_tags(values: list[str]) -> None:
    """Comma-free, NFC, without case, in the order given, each once; and its own normal form."""
    try:
        tags = normal_tags(values)
    except ValueError as error:
        assert str(error).startswith("wants ")  # noqa: PT017 - any other outcome is checked below
        return
    assert are_tags(tags)
    assert normal_tags(list(tags)) == normal_tags([",".join(tags)]) == tags
    for tag in tags:
        assert "," not in tag
        assert unicodedata.is_normalized("NFC", tag)
        # Case folding itself can leave NFC, so the form is what both together no longer change.
        assert unicodedata.normalize("NFC", tag.casefold()) == tag
        assert not any(unicodedata.category(character) == "Cc" for character in tag)
    # One by one they are the same, in the order of their first use.
    assert tags == tuple(
        dict.fromkeys(tag for value in values for part in value.split(",") for tag in normal_tags([part]))
    )


def test_tags_that_are_the_same() -> None:
    assert normal_tags(["Straße, STRASSE ,strasse", "A\u030angstro\u0308m,ÅNGSTRÖM", "", " , "]) == (
        "strasse",
        "ångström",
    )


def test_the_bounds_of_tags() -> None:
    twenty = [f"tag {i}" for i in range(20)]
    assert normal_tags([*twenty, *twenty]) == tuple(twenty)
    assert normal_tags(["x" * 64]) == ("x" * 64,)
    for values in ([*twenty, "one more"], ["x" * 65], ["ß" * 33], ["a\nb"], ["a\u0000"], ["\ud800"], ["a\x85b"]):
        with pytest.raises(ValueError, match=r"^wants "):
            normal_tags(values)


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=300) | st.text(alphabet='/\\ .:a\u0301\u2000"\r\n\t\0', max_size=20))
def test_the_normal_form_of_a_filename(text: str) -> None:
    """One path component without a control character; and its own normal form."""
    try:
        name = normal_filename(text)
    except ValueError as error:
        assert str(error).startswith("wants ")  # noqa: PT017 - any other outcome is checked below
        return
    assert normal_filename(name) == name
    assert 1 <= len(name) <= 255
    assert name not in (".", "..")
    assert not set(name) & {"/", "\\"}
    assert not any(unicodedata.category(character) == "Cc" for character in name)
    assert unicodedata.is_normalized("NFC", name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\holiday photo.jpg", "holiday photo.jpg"),
        ("/tmp/A\u030a.png ", "Å.png"),
        (".hidden", ".hidden"),
        ("x" * 255, "x" * 255),
    ],
)
def test_filenames(text: str, name: str) -> None:
    assert normal_filename(text) == name


@pytest.mark.parametrize(
    "text", ["", " ", ".", "..", "a/", "a/..", "x" * 256, "a\nb", "a\0.png", "a\x7f", "\udcff.png"]
)
def test_what_is_no_filename(text: str) -> None:
    with pytest.raises(ValueError, match=r"^wants "):
        normal_filename(text)


def test_descriptions() -> None:
    """Lines and tabs are text; other control characters are not."""
    assert normal_description("A\u030a\tb\r\nc" + "x" * 1_990) == "Å\tb\r\nc" + "x" * 1_990
    for text in ("x" * 2_001, "\0", "\x1b[31m", "\x85", "\ud800"):
        with pytest.raises(ValueError, match=r"^wants "):
            normal_description(text)


def test_checksums() -> None:
    """Hex in either case is one checksum."""
    given = "0123456789abcdefABCDEF" + "0" * 42
    assert read(NewUploadFields, {"sha256": [given]}).sha256 == given.lower()
    for text in ("", "0" * 65, "g" * 64, "0x" + "0" * 62, "٠" * 64):
        assert fields_refused(NewUploadFields, {"sha256": [text]}) == {"sha256"}


def test_a_model_that_does_not_say_what_it_wants() -> None:
    """A mistake in a model is found when the program starts, not when a request comes."""

    class Silent(msgspec.Struct):
        width: int = 1

    with pytest.raises(TypeError, match=r"Silent\.width"):
        Reader(Silent)


def test_wants_is_what_the_refusal_says() -> None:
    with pytest.raises(InvalidRequest, match='order: wants "newest" or "oldest", got "up"'):
        read(ListParameters, {"order": ["up"]})
    assert Wants("x").many is False
