"""What the README says is so: its tables are compared with the code, as are the other pages."""

import configparser
import re
from pathlib import Path

import pytest
from prometheus_client.process_collector import ProcessCollector

from scripts import reference
from src import AsyncClient, Client
from src.common import errors
from src.common.config import VARIABLES
from src.common.errors import ServiceError
from src.common.metrics import METRICS
from src.handlers.app import METRICS_ROUTES, OBJECT_ROUTES, ROUTES
from src.handlers.fields import UploadFields
from src.handlers.problems import status_of
from src.handlers.queries import ContentParameters, ImageParameters, ListParameters, TagParameters, UsageParameters
from src.models.caller import SCOPES
from tests.support.server import ROOT

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def rows(heading: str, page: str = README) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    return table_rows(page.partition(f"{heading}\n")[2])


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of the first table, without its head."""
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[0].splitlines()[2:]]


def test_every_setting_is_documented_as_it_is() -> None:
    documented = [(name.strip("`"), default.strip("`"), text) for name, default, text in rows("## Configuration")]
    assert documented == [(v.name, v.default or "unset", v.help) for v in VARIABLES]


def test_what_deploys_takes_the_variables_that_are_documented() -> None:
    script = (ROOT / "scripts" / "deploy.sh").read_text()
    defaults = dict(re.findall(r'"\$\{([A-Z_]+):=([^$}"]*)', script))
    del defaults["AWS_REGION"]  # is as AWS's own tools take it
    documented = {name.strip("`"): default.strip("`") for name, default, _ in rows("## Deploy")}
    own = {variable.name: variable.default for variable in VARIABLES}
    assert set(documented) == set(defaults) - set(own)
    for name in set(defaults) - {"ARCHITECTURE", "STACK_NAME"}:  # whose defaults depend
        assert defaults[name] == (own | documented)[name]


def test_every_route_is_documented_and_no_other() -> None:
    documented = {row[0].strip("`") for row in rows("## API")}
    existing = {
        f"{method} {route.path.replace(':path', '')}"
        for route in ROUTES + OBJECT_ROUTES + METRICS_ROUTES
        for method in (route.methods or ()) - {"HEAD"}
    }
    assert documented == existing - {"GET /docs/{name}", "GET /gallery/{version}/{name}"}  # files of the pages


@pytest.mark.parametrize(
    ("route", "model"),
    [
        ("`POST /images`", UploadFields),
        ("`GET /images`", ListParameters),
        ("`GET /images/{image_id}`", ImageParameters),
        ("`GET /images/{image_id}/content`", ContentParameters),
        ("`GET /tags`", TagParameters),
        ("`GET /usage`", UsageParameters),
    ],
)
def test_every_parameter_is_documented(route: str, model: type) -> None:
    text = next(row[1] for row in rows("## API") if row[0] == route)
    missing = [name for name in model.__struct_fields__ if not re.search(rf"`{name}\b", text)]  # type: ignore[attr-defined]
    assert missing == []


def test_every_error_code_is_documented_with_its_status() -> None:
    def descendants(cls: type[ServiceError]) -> list[type[ServiceError]]:
        return [found for child in cls.__subclasses__() for found in (child, *descendants(child))]

    # An abstract class has no code of its own, but for the one that what nobody foresaw gets.
    concrete = [c for c in descendants(ServiceError) if c.__module__ == errors.__name__ and "code" in vars(c)]
    expected = {(str(status_of(c)), f"`{c.code}`", c.title) for c in [*concrete, errors.InternalError]}
    assert {tuple(row) for row in rows("### Errors")} == expected


def test_every_method_of_the_clients_is_documented() -> None:
    table = rows("## Methods", (ROOT / "docs" / "client.md").read_text())
    documented = {name for method, _ in table for name in re.findall(r"`(\w+)\(", method)}
    assert documented == {name for name in vars(Client) if not name.startswith("_")}
    asynchronous = {name for name in vars(AsyncClient) if not name.startswith("_")}
    assert asynchronous == documented - {"close"} | {"aclose"}
    assert all(vars(Client)[name].__doc__ for name in documented)


def test_every_metric_is_documented_and_no_other() -> None:
    processes = {f.name: f.documentation for f in ProcessCollector("image_service", registry=None).collect()}
    expected = [(m.name, m.kind, ", ".join(f"`{label}`" for label in m.labels), m.help) for m in METRICS]
    documented = [(name.strip("`"), kind, labels, text) for name, kind, labels, text in rows("### Metrics")]
    of_processes = documented[len(expected) :]
    assert documented[: len(expected)] == expected
    assert {name.removesuffix("_total"): text for name, _, _, text in of_processes} == {
        name: text.removesuffix(".") for name, text in processes.items()
    }
    assert {labels for _, _, labels, _ in of_processes} == {"`pid`"}


def test_every_scope_is_documented() -> None:
    assert [row[0].strip("`") for row in rows("Of the scopes, each of those for images includes those before it:")] == [
        *SCOPES
    ]


def test_the_reference_is_as_it_is_made() -> None:
    """If it is not: `.venv/bin/python -m scripts.reference` makes it anew."""
    assert (ROOT / "docs" / "api.md").read_text() == reference.page()


def test_the_layers_are_as_they_are_checked() -> None:
    """In the page, in its picture and in the README."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    layers = config["importlinter:contract:layers"]["layers"].split("\n")[1:]
    each = [name for layer in layers for name in layer.split(" | ")]
    assert [row[0].strip("`") for row in rows("## Layers", ARCHITECTURE)] == each
    picture = (ROOT / "docs" / "layers.svg").read_text()
    places = re.findall(r'<text class="name layer" x="(\d+)" y="(\d+)">(\w+)</text>', picture)
    drawn: dict[int, list[str]] = {}
    for _, y, name in sorted(places, key=lambda place: (int(place[1]), int(place[0]))):
        drawn.setdefault(int(y), []).append(name)
    assert [" | ".join(names) for names in drawn.values()] == layers
    assert " → ".join(layers) in README


def test_what_the_architecture_names_exists() -> None:
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_*]+(?:\.py|\.yaml|\.sh))`", ARCHITECTURE)
    assert len(named) > 20
    for name in named:
        assert list(ROOT.glob(f"src/**/{name}")) or list(ROOT.glob(name)), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_there(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*)#([^)]+)\)", page.read_text()):
        other = page.parent / target if target else page
        headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
        assert anchor in {reference.anchor(heading) for heading in headings}, f"{target}#{anchor}"


def test_the_tests_that_security_names_exist() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`((?:tests/[a-z0-9]+/)?test_[a-z0-9_*]+\.py)`", text)
    assert len(named) > 20
    for name in named:
        assert list(ROOT.glob(name if "/" in name else f"tests/**/{name}")), name


def test_decisions_are_numbered_pages_with_a_reason() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text()
        assert "**Decided.**" in text, page
        assert "**Why.**" in text, page


def test_every_script_is_described() -> None:
    described = {row[0].strip("`") for row in table_rows((ROOT / "scripts" / "README.md").read_text())}
    assert described == {path.name for path in (ROOT / "scripts").iterdir() if path.suffix in {".sh", ".py"}}
