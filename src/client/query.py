"""Parameters and fields as they are written into a query or a form."""

import datetime as dt
from collections.abc import Mapping, Sequence

type Value = str | int | bool | dt.datetime | Sequence[str] | None
type Values = Mapping[str, Value]


def pairs(values: Values) -> list[tuple[str, str]]:
    """Return the pairs of a query; what is None is not said. Raises ValueError for what can't be meant."""
    return [(name, text) for name, value in values.items() for text in _texts(name, value)]


def form_fields(values: Values) -> dict[str, list[str]]:
    """Return the text fields of a form, each with all its values."""
    return {name: texts for name, value in values.items() if (texts := _texts(name, value))}


def tags_of(name: str, tags: Sequence[str]) -> list[str]:
    """Return tags as a list. Raises ValueError for a single text, which is a sequence of letters."""
    if isinstance(tags, str):
        raise ValueError(f"{name}: wants a list of texts, got the text {tags!r}")  # noqa: TRY004 - as for any other value
    return list(tags)


def _texts(name: str, value: Value) -> list[str]:
    match value:
        case None:
            return []
        case bool():
            return [str(value).lower()]
        case str() | int():
            return [str(value)]
        case dt.datetime():
            if value.tzinfo is None:
                raise ValueError(f"{name}: wants a time with a time zone, got {value.isoformat()}")
            return [value.isoformat()]
        case _:
            return tags_of(name, value)
