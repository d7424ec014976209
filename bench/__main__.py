"""Run benchmarks, one after the other, and keep what they print in `bench/results.md`.

    bash scripts/bench.sh [NAME [OPTIONS OF THE BENCHMARK]]

Without a name all of them run. Each has its section in the results, with the command and the conditions that it ran
under; a section is replaced when its benchmark has run to its end.
"""

import datetime as dt
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent
RESULTS = BENCH / "results.md"
SECTION = re.compile(r"^## (\S+)\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
HEAD = """# What the benchmarks printed

Written by `bash scripts/bench.sh`; each section is from one run on one machine, so compare within a section only.
"""


def benchmarks() -> dict[str, str]:
    """Return the benchmarks' modules by their names, with hyphens."""
    found = sorted(path.stem for path in BENCH.glob("*.py") if "    bash scripts/bench.sh " in path.read_text())
    return {name.replace("_", "-"): name for name in found if name != Path(__file__).stem}


def conditions() -> str:
    """Say what a figure depends on besides the code."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = _git("describe", "--always")
    if _git("status", "--porcelain", "--untracked-files=no", ":!results.md"):  # which the benchmark before wrote
        commit += ", changed"
    return (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {commit}; {os.cpu_count()} cores ({model[1] if model else 'unknown'}), "
        f"{memory:.0f} GiB, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}; "
        f"load before it {os.getloadavg()[0]:.1f}"
    )


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=BENCH, capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return "no repository"
    return done.stdout.strip()


def run(name: str, module: str, options: list[str]) -> None:
    """Run one, show what it prints as it comes, and keep it. Raises SystemExit if it fails."""
    print(f"== {name}", flush=True)
    head = f"`bash scripts/bench.sh {shlex.join([name, *options])}`: {conditions()}"
    lines = []
    with subprocess.Popen(  # noqa: S603 - ours
        [sys.executable, "-u", "-m", f"bench.{module}", *options], stdout=subprocess.PIPE, text=True, cwd=BENCH.parent
    ) as process:
        assert process.stdout  # noqa: S101 - it is piped
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    if process.returncode:
        raise SystemExit(process.returncode)
    if lines and not {"-h", "--help"} & set(options):
        keep(name, f"## {name}\n\n{head}\n\n```text\n" + "\n".join(lines).strip("\n") + "\n```\n")


def keep(name: str, section: str) -> None:
    text = RESULTS.read_text() if RESULTS.exists() else ""
    sections = {match[1]: match[0] for match in SECTION.finditer(text)} | {name: section}
    RESULTS.write_text("\n".join([HEAD, *(sections[name].rstrip("\n") + "\n" for name in sorted(sections))]))


def main(arguments: list[str]) -> None:
    known = benchmarks()
    if not arguments:
        for name, module in known.items():
            run(name, module, [])
    elif (name := arguments[0].replace("_", "-")) in known:
        run(name, known[name], arguments[1:])
    else:
        raise SystemExit(f"There is no benchmark {arguments[0]!r}; there are {', '.join(known)}.")


if __name__ == "__main__":
    main(sys.argv[1:])
