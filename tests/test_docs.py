"""What the README says is so: its tables are compared with the code, its walk is walked."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.process_collector import ProcessCollector

from src.common import errors
from src.common.config import VARIABLES
from src.common.errors import ServiceError
from src.common.metrics import METRICS
from src.handlers.app import METRICS_ROUTES, OBJECT_ROUTES, ROUTES
from src.handlers.fields import UploadFields
from src.handlers.problems import status_of
from src.handlers.queries import ContentParameters, ImageParameters, ListParameters, TagParameters, UsageParameters
from src.models.caller import SCOPES
from tests.support.pictures import picture
from tests.support.server import ROOT, Server
from tests.support.tokens import SECRET

README = (ROOT / "README.md").read_text()
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
# What differs from one run to the next, in the order in which it is replaced.
VARYING = (
    (re.compile(ID), "ID"),
    (re.compile(r"(originals|incoming)/\w\w/"), r"\1/XX/"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r'"request_id":"[0-9a-f]{32}"'), '"request_id":"REQUEST"'),
    (re.compile(r"X-Amz-Signature=[0-9a-f]+…?"), "X-Amz-Signature=SIGNATURE"),
    # The picture is not the README's, so what is measured of its bytes differs.
    (re.compile(r'"(size|color|placeholder|sha256)":("[^"]*"|\d+)'), r'"\1":MEASURED'),
)


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    return table_rows(README.partition(f"{heading}\n")[2])


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


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data") as server:
        yield server


def test_the_walk_is_as_it_was_written_down(own_server: Server, tmp_path: Path) -> None:
    """Every command of the README's walk runs, and prints what stands there."""
    assert walk("## A walk through it", "### Renditions", own_server, tmp_path) > 8


def test_the_walk_with_a_token(tmp_path: Path) -> None:
    secret = {"AUTH_SECRET": SECRET}
    with Server(tmp_path / "data", environment=secret) as server:
        assert walk("### Access", "### Errors", server, tmp_path, **secret) == 3


def walk(start: str, end: str, server: Server, directory: Path, **environment: str) -> int:
    """Run the commands between two headings, compare what they print, and return how many there were."""
    (directory / "cat.jpg").write_bytes(picture("jpeg", 350, 206))
    commands = "".join(CONSOLE.findall(README.partition(start)[2].partition(end)[0]))
    steps = [step.partition("\n") for step in commands.split("$ ", 1)[1].split("\n$ ")]
    script = "\n".join(f"{command}\nprintf '\\x1e'" for command, _, _ in steps)
    script = script.replace(".venv/bin/python -m src", f"PYTHONPATH={ROOT} python3 -m src")
    script = script.replace("http://127.0.0.1:8000", server.url).replace("python3", sys.executable)
    run = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    printed = run.stdout.replace(server.url, "http://127.0.0.1:8000").split("\x1e")[:-1]
    for (command, _, expected), got in zip(steps, printed, strict=True):
        assert matches(expected.strip(), got.strip()), f"$ {command}\nprinted\n{got}\nand not\n{expected}"
    return len(steps)


def matches(expected: str, got: str) -> bool:
    """Compare two outputs, where `…` in the expected one stands for anything."""
    for pattern, replacement in VARYING:
        expected, got = pattern.sub(replacement, expected), pattern.sub(replacement, got)
    return re.fullmatch(".*".join(re.escape(part) for part in expected.split("…")), got, re.DOTALL) is not None


def test_the_walk_can_fail() -> None:
    assert matches('{"a":"…","b":1}', '{"a":"xyz","b":1}')
    assert not matches('{"a":"…","b":1}', '{"a":"xyz","b":2}')


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
