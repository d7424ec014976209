"""JSON schemas as tables of Markdown, for `reference.py`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FEWEST_SHARED = 4  # fields that make it worth to refer to another schema that has them


class Schemas:
    """The schemas of a document. Those that were referred to are shown in the end."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas
        self._wanted: dict[str, None] = {"Problem": None}

    def kind(self, schema: Mapping[str, Any]) -> str:
        """Say in words what a value may be."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            self._wanted.setdefault(name)
            return f"[`{name}`](#{name.lower()})"
        if "anyOf" in schema:
            return " or ".join(self.kind(option) for option in schema["anyOf"])
        if "enum" in schema:
            return ", ".join(f"`{value}`" for value in schema["enum"])
        match schema.get("type"):
            case "array":
                bounds = _range(schema.get("minItems"), schema.get("maxItems"))
                return f"list of {f'{bounds}: ' if bounds else ''}{self.kind(schema.get('items', {}))}"
            case "string":
                return _text(schema)
            case "integer" | "number" as number:
                bounds = _range(schema.get("minimum"), schema.get("maximum"))
                return f"{number}, {bounds}" if bounds else number
            case "object" if isinstance(schema.get("additionalProperties"), dict):
                return f"object of {self.kind(schema['additionalProperties'])}"
            case None:
                return "the bytes"
            case other:
                return str(other)

    def parameters(self, parameters: Sequence[Mapping[str, Any]]) -> str:
        """Return the table of an operation's parameters, those that have to be given first."""
        return _table(
            ("parameter", "in", "", "default", ""),
            [
                (
                    f"`{each['name']}`",
                    each["in"],
                    self.kind(each["schema"]),
                    _default(each["schema"], is_required=each["required"]),
                    each.get("description", ""),
                )
                for each in sorted(parameters, key=lambda each: not each["required"])
            ],
        )

    def body(self, schema: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]] = ()) -> str:
        """Return what a request's body may be: its fields but for those that are parameters too, or a word for it."""
        if "$ref" not in schema:
            return f" {self.kind(schema)}\n"
        described = self._schemas[schema["$ref"].rpartition("/")[2]]
        known = {each["name"]: each.get("description") for each in parameters if each["in"] == "query"}
        fields = dict(described["properties"])
        shared = [name for name, field in fields.items() if name in known and known[name] == field.get("description")]
        for name in shared:
            del fields[name]
        lead = f" {', '.join(f'`{name}`' for name in shared)}, as above, and" if shared else ""
        required = described.get("required", ())
        rows = [
            (f"`{name}`", self.kind(field), _default(field, is_required=name in required), field.get("description", ""))
            for name, field in fields.items()
        ]
        return f"{lead}\n\n" + _table(("field", "", "default", ""), rows)

    def tables(self) -> Iterator[str]:
        """Yield a section for each schema that was referred to, by name."""
        sections: dict[str, str] = {}
        while missing := self._wanted.keys() - sections.keys():
            for name in missing:
                sections[name] = self._section(name)
        for name in sorted(sections):
            yield sections[name]

    def _section(self, name: str) -> str:
        schema = self._schemas[name]
        return f"### {name}\n\n{self._described(schema, without=self._base(name))}"

    def _base(self, name: str) -> str | None:
        """Find the schema whose fields are all in this one too."""
        own = self._schemas[name].get("properties", {})
        shared = {
            other: fields
            for other, schema in self._schemas.items()
            if (fields := schema.get("properties", {})).items() < own.items()
            and len(fields) >= FEWEST_SHARED
            and set(schema["required"]) <= set(self._schemas[name]["required"])
        }
        return max(shared, key=lambda other: len(shared[other]), default=None)

    def _described(self, schema: Mapping[str, Any], *, without: str | None = None) -> str:
        text = schema.get("description", "")
        fields = schema.get("properties", {})
        if without:
            text = f"{text} It has all fields of {self.kind({'$ref': f'/{without}'})}, and:"
            fields = {name: field for name, field in fields.items() if name not in self._schemas[without]["properties"]}
        required = schema.get("required", ())
        rows = [
            (
                f"`{name}`",
                self.kind(field) + ("" if name in required else ", may be missing"),
                field.get("description", ""),
            )
            for name, field in fields.items()
        ]
        return f"{text}\n\n" + _table(("field", "", ""), rows)


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell(text) for text in row] for row in rows)]
    return "".join("|" + "".join(f" {text} |" if text else " |" for text in line) + "\n" for line in lines)


def _default(schema: Mapping[str, Any], *, is_required: bool = False) -> str:
    if is_required:
        return "required"
    return "" if schema.get("default") in (None, "", [], ()) else f"`{str(schema['default']).lower()}`"


def _text(schema: Mapping[str, Any]) -> str:
    match schema.get("format"):
        case "date-time":
            return "time"
        case "binary":
            return "the bytes"
    pattern = f" `{schema['pattern']}`" if "pattern" in schema else ""
    bounds = _range(schema.get("minLength"), schema.get("maxLength"))
    return f"string{pattern}, {bounds} characters" if bounds else f"string{pattern}"


def _range(least: int | None, most: int | None) -> str:
    if most is None:
        return "" if least is None else f"at least {least:,}"
    return f"at most {most:,}" if least is None else f"{least:,} to {most:,}"
