"""What is installed is what was looked at: every pin has its hashes, and advisories are not passed over."""

import importlib.util
import json
import re
from typing import Any

import pytest

from tests.support.server import ROOT

PINS = sorted((ROOT / "requirements").glob("*.txt"))


def _load() -> Any:
    specification = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


audit = _load()


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.name)
def test_every_pin_is_exact_and_has_hashes(path: Any) -> None:
    entries = re.split(r"\n(?=\S)", path.read_text().strip())
    packages = [entry for entry in entries if not entry.startswith("#")]
    assert packages
    for entry in packages:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==[^\s;*]+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_requirements_are_those_files() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "-r requirements/runtime.txt",
        "-r requirements/test.txt",
    ]


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


SOUND = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found"}
AFFECTED = {"name": "c", "version": "1", "vulns": [{"id": "GHSA-1"}]}


@pytest.mark.parametrize(
    ("printed", "errors", "is_bad", "words"),
    [
        (report(SOUND, SOUND), "", False, "2 packages without"),
        (report(SOUND, UNKNOWN), "", False, "NOT audited, since not known there: b"),
        (report(UNKNOWN, UNKNOWN), "", False, "NOT audited"),
        (report(SOUND, AFFECTED, UNKNOWN), "", True, "c 1: GHSA-1"),
        ("", "requests.exceptions.ConnectionError: Max retries exceeded", False, "NOT audited"),
        ("", "error: unrecognized arguments", True, "pip-audit failed"),
    ],
)
def test_what_an_audit_comes_to(printed: str, errors: str, is_bad: bool, words: str) -> None:
    found = audit.verdict("runtime.txt", printed, errors)
    assert found[0] == is_bad
    assert words in found[1]
