"""Reading a model's fields from a query string, a form or a JSON object, naming every field that is wrong."""

import re
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from ..common.errors import FieldError, InvalidRequest

Values = Mapping[str, Sequence[object]]


MAX_UNKNOWN = 20  # names that an answer tells one by one that they are not known
MAX_SHOWN = 100  # characters of such a name

_INTEGER = re.compile(r"-?[0-9]{1,19}")


class Wants(NamedTuple):
    """How a field of a model is read: what to say when it is wrong, and how to bring it to its normal form.

    `many` fields may be given several times, and `normal` gets the list of them; else it gets the one value.
    `normal` raises ValueError with what is wanted.
    """

    text: str
    normal: Callable[[Any], object] | None = None
    many: bool = False


class _Field(NamedTuple):
    name: str
    type: Any
    wants: Wants
    is_integer: bool
    is_required: bool


class Reader[T: msgspec.Struct]:
    """Reads Structs of one type, whose fields are all `Annotated[..., Wants(...)]`."""

    def __init__(self, model: type[T]) -> None:
        self._model = model
        self._fields = tuple(_fields(model))
        self._names = frozenset(field.name for field in self._fields)

    def read_object(self, content: Mapping[str, object]) -> T:
        """Build the Struct from a JSON object's members. Raises InvalidRequest."""
        return self.read({name: [value] for name, value in content.items()})

    def read(self, values: Values, *, besides: frozenset[str] = frozenset(), errors: Sequence[FieldError] = ()) -> T:
        """Build the Struct. A number may be one, or the text of one.

        Fields named in `besides` are read by somebody else, and `errors` are what was found wrong with them. Raises
        InvalidRequest that names every field at fault.
        """
        errors = [*errors]
        if others := [name for name in values if name not in self._names]:
            known = sorted(self._names | besides)
            unknown = f"is not known here; known are {', '.join(known)}" if known else "is not known here; nothing is"
            errors += [FieldError(shown_name(name), unknown) for name in others[:MAX_UNKNOWN]]
        found: dict[str, object] = {}
        for field in self._fields:
            given = values.get(field.name)
            if not given:
                if field.is_required and field.name not in besides:
                    errors.append(FieldError(field.name, f"wants {field.wants.text}, got nothing"))
                continue
            try:
                found[field.name] = _read(field, given)
            except ValueError as error:
                errors.append(FieldError(field.name, str(error)))
        if errors:
            raise InvalidRequest.of(*errors)
        return self._model(**found)


def query_values(request: Request) -> dict[str, list[object]]:
    """Return the query's parameters, each with all its values. Raises InvalidRequest if it is not text."""
    values: dict[str, list[object]] = {}
    query = request.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidRequest.field("query", "wants percent-encoded UTF-8") from None
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _fields(model: type[msgspec.Struct]) -> list[_Field]:
    hints = get_type_hints(model, include_extras=True)
    fields = []
    required = {field.name for field in msgspec.structs.fields(model) if field.required}
    for name, hint in hints.items():
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{model.__name__}.{name} does not say what it wants")
        wants = next(extra for extra in get_args(hint)[1:] if isinstance(extra, Wants))
        type_ = _type_when_given(hint)
        fields.append(_Field(name, type_, wants, get_args(type_)[:1] == (int,), name in required))
    return fields


def _type_when_given(hint: Any) -> Any:
    """Return the type without None, which stands for what was not said: the text "null" is not that."""
    members = get_args(get_args(hint)[0])
    return next(member for member in members if member is not NoneType) if NoneType in members else hint


def _read(field: _Field, given: Sequence[object]) -> object:
    normal = field.wants.normal
    if field.wants.many:
        texts = [text for value in given for text in (value if isinstance(value, list) else [value])]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"wants {field.wants.text}")
        return normal(texts) if normal else tuple(texts)
    if len(given) > 1:
        raise ValueError(f"wants one value, got {len(given)}")
    value = given[0]
    if normal is not None:
        if not isinstance(value, str):
            raise ValueError(f"wants {field.wants.text}, got {_shown(value)}")
        return normal(value)
    if field.is_integer and isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has but one kind of numbers: 1.0 is an integer there
    if isinstance(value, float) or (field.is_integer and isinstance(value, str) and not _INTEGER.fullmatch(value)):
        raise ValueError(f"wants {field.wants.text}, got {_shown(value)}")
    try:
        return msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError:
        raise ValueError(f"wants {field.wants.text}, got {_shown(value)}") from None


def shown_name(text: str) -> str:
    """Return the beginning of a name that a client gave: an answer is not to be as long as the request."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Nothing(msgspec.Struct, frozen=True):
    pass


no_parameters = Reader(_Nothing)
