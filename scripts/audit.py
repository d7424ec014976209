"""Compare the pinned packages with the known advisories, where a source of these can be reached.

Exits with 1 if a package has one, and with 0 if none has, or nobody can be asked: that is said.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PINS = ("runtime.txt", "test.txt", "build.txt")
TIME = 120  # seconds for a file of pins
UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError|Max retries exceeded|timed out|ServiceError",
    re.IGNORECASE,
)


def main() -> int:
    """Audit every file of pins."""
    verdicts = [audit(ROOT / "requirements" / name) for name in PINS]
    for _, words in verdicts:
        print(words)
    return int(any(is_bad for is_bad, _ in verdicts))


def audit(pins: Path) -> tuple[bool, str]:
    """Return whether there is something to be done, and what to say."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIME, check=False)
    except subprocess.TimeoutExpired:
        return False, f"audit: {pins.name}: NOT audited: no source of advisories answers"
    return verdict(pins.name, run.stdout, run.stderr)


def verdict(name: str, report: str, errors: str) -> tuple[bool, str]:
    """Judge what pip-audit printed. It takes packages that its source does not know for sound ones: we don't."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        if UNREACHABLE.search(errors):
            return False, f"audit: {name}: NOT audited: no source of advisories can be reached"
        return True, f"audit: {name}: pip-audit failed\n{errors}"
    affected = [
        f"{package['name']} {package['version']}: {', '.join(found['id'] for found in package['vulns'])}"
        for package in packages
        if package.get("vulns")
    ]
    if affected:
        return True, "\n".join([f"audit: {name}: known vulnerabilities", *affected])
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return False, f"audit: {name}: NOT audited: no source of advisories can be reached that knows the packages"
    more = f"; NOT audited, since not known there: {', '.join(unknown)}" if unknown else ""
    return False, f"audit: {name}: {len(packages) - len(unknown)} packages without known vulnerabilities{more}"


if __name__ == "__main__":
    sys.exit(main())
