"""Build the Lambda function's zip from the pins and `src/`: the same input gives the same bytes.

    python scripts/artifact.py RUNTIME ARCHITECTURE HANDLER DIRECTORY

run by deploy.sh with the Python of `.venv-build`. Prints the path of the zip, whose name is its SHA-256, and what was
measured to standard error. The function's settings are those of the environment: they are tried too.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PINS = ROOT / "requirements" / "runtime.txt"

MAX_UNZIPPED = 250 * 1024 * 1024  # bytes: AWS, "Lambda quotas", deployment package
TASK_ROOT = "/var/task"  # where Lambda unpacks it
GLIBC_MINORS = range(34, 16, -1)  # Amazon Linux 2023, on which Python 3.12 and newer run, has glibc 2.34
MACHINES = {"aarch64": "arm64", "x86_64": "x86_64"}  # as Linux and pip name them, and as Lambda does
SDISTS = frozenset({"pyvips"})  # published without wheels: built here, to pure Python
# The server and the command line, with what they alone need.
NOT_IN_FUNCTION = frozenset(
    {"certifi", "click", "h11", "httpcore", "httptools", "httpx", "prometheus-client", "tqdm", "uvicorn", "uvloop"}
)
KEPT = 3600  # seconds: another run may just be uploading it
# What the handler reads of its environment, and what an interpreter needs.
PASSED_ON = (
    *("PATH", "HOME", "LANG", "BUCKET_NAME", "TABLE_NAME", "S3_PUBLIC_ENDPOINT"),
    *(
        "PRESIGNED_URL_EXPIRATION",
        "MAX_IMAGE_SIZE",
        "MAX_IMAGE_PIXELS",
        "QUOTA_IMAGES",
        "QUOTA_BYTES",
        "LOG_LEVEL",
        "METRICS",
    ),
    *("AUTH_SECRET", "AUTH_JWKS_URL", "AUTH_ISSUER", "AUTH_AUDIENCE", "ALLOW_ANONYMOUS"),
    *("CORS_ALLOW_ORIGINS", "URL_SIGNING_KEYS"),
)
NOT_NEEDED = (
    "bin",
    "*.map",
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*/direct_url.json",
)


class CannotBuild(Exception):
    """The message is for the user."""


def build(runtime: str, architecture: str, handler: str, directory: Path) -> Path:
    tree = directory / f"{runtime}-{architecture}"
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        return _build(runtime, architecture, handler, tree)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Let one run at a time work in a directory."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(runtime: str, architecture: str, handler: str, tree: Path) -> Path:
    python = _python(runtime)
    if not python:
        _say(f"There is no {runtime} here: the artifact has no bytecode, so that it starts more slowly.")
    dependencies = _ensure_dependencies(tree, runtime, architecture, python)
    path = _ensure_zip(tree, dependencies, python)
    if python and sys.platform == "linux" and MACHINES.get(platform.machine()) == architecture:
        _check_imports(python, tree, handler)
        _say(f"Its imports work in a clean {runtime}.")
    else:
        _say(f"This machine does not run {runtime} for Linux on {architecture}: its imports are unchecked.")
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    _say(f"Unzipped it has {size / 2**20:.1f} MiB; Lambda takes {MAX_UNZIPPED / 2**20:.0f}.")
    if size > MAX_UNZIPPED:
        raise CannotBuild("That is too much for Lambda.")
    return path


def _ensure_dependencies(tree: Path, runtime: str, architecture: str, python: str | None) -> str:
    """Install what the pins say into an empty tree, unless that is what it holds already. Return what stands for it."""
    stamp = Path(f"{tree}.stamp")
    wanted = _digest(PINS.read_bytes(), Path(__file__).read_bytes(), b"with bytecode" if python else b"")
    if tree.exists() and stamp.exists() and stamp.read_text() == wanted:
        return wanted
    stamp.unlink(missing_ok=True)
    shutil.rmtree(tree, ignore_errors=True)
    _install(tree, runtime, architecture)
    _compile(tree, tree, python)
    stamp.write_text(wanted)
    return wanted


def _ensure_zip(tree: Path, dependencies: str, python: str | None) -> Path:
    """Zip dependencies and source, unless there is a zip of the same already."""
    stamp = Path(f"{tree}.zip.stamp")  # of what it was made, and its name
    source = sorted(path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    wanted = _digest(dependencies.encode(), *(part for path in source for part in (bytes(path), path.read_bytes())))
    if stamp.exists():
        made_of, _, name = stamp.read_text().partition(" ")
        path = tree.parent / name
        if made_of == wanted and path.exists():
            path.touch()  # it is in use
            return path
    stamp.unlink(missing_ok=True)
    shutil.rmtree(tree / "src", ignore_errors=True)
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    _compile(tree / "src", tree, python)
    path = _zipped(tree)
    stamp.write_text(f"{wanted} {path.name}")
    return path


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _compile(directory: Path, tree: Path, python: str | None) -> None:
    """Lambda's disk is read-only: without bytecode every cold start would compile all modules anew."""
    if python:
        paths = ["-s", str(tree), "-p", TASK_ROOT, str(directory)]
        _run([python, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", *paths])


def _install(tree: Path, runtime: str, architecture: str) -> None:
    work = Path(f"{tree}.work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    wheels, sdists = work / "wheels.txt", work / "sdists.txt"
    pins = _pins()
    wheels.write_text("".join(pin for name, pin in pins.items() if name not in SDISTS | NOT_IN_FUNCTION))
    sdists.write_text("".join(pins[name] for name in SDISTS))
    version = runtime.removeprefix("python")
    target = ["--target", str(tree), "--no-deps", "--no-compile", "--only-binary=:all:"]
    target += ["--python-version", version, "--implementation", "cp"]
    target += [word for abi in (f"cp{version.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)]
    machines = [machine for machine, name in MACHINES.items() if name == architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS for machine in machines]
    target += [word for platform_ in platforms for word in ("--platform", platform_)]
    # Without pkgconfig and cffi to build with, pyvips makes no attempt at an extension for this machine's libvips.
    _pip("wheel", "--no-deps", "--no-build-isolation", "--require-hashes", "-r", str(sdists), "-w", str(work))
    _pip("install", *target, "--require-hashes", "-r", str(wheels))
    _pip("install", *target, *(str(wheel) for wheel in sorted(work.glob("*-none-any.whl"))))
    shutil.rmtree(work)
    for pattern in NOT_NEEDED:
        for path in list(tree.rglob(pattern) if pattern.startswith("*.map") else tree.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _pins() -> dict[str, str]:
    """Return each requirement of the pins, with its hashes, by its name."""
    pins = re.split(r"\n(?=\S)", PINS.read_text())
    return {pin.partition("==")[0]: f"{pin.rstrip()}\n" for pin in pins if "==" in pin}


def _python(runtime: str) -> str | None:
    """Return an interpreter of the function's version, if there is one. Bytecode is the same on all machines."""
    version = runtime.removeprefix("python")
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    for candidate in (sys.executable, runtime):
        try:
            done = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        except FileNotFoundError:
            continue
        if done.stdout.strip() == version:
            return candidate
    return None


def _check_imports(python: str, tree: Path, handler: str) -> None:
    """Load the handler as Lambda does, with the standard library and the tree and nothing else."""
    module = handler.rpartition(".")[0].replace("/", ".")
    code = f"import sys; sys.path.insert(0, {str(tree)!r}); import importlib; m = importlib.import_module({module!r}); "
    code += f"assert callable(getattr(m, {handler.rpartition('.')[2]!r}))"
    environment = {name: value for name, value in os.environ.items() if name in PASSED_ON}
    environment |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    if not (environment.get("AUTH_SECRET") or environment.get("AUTH_JWKS_URL")):
        # The function may have a secret that is not told here; what verifies tokens is loaded in any case.
        environment["AUTH_SECRET"] = "x" * 32
    done = subprocess.run([python, "-B", "-I", "-S", "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return
    kind, _, text = done.stderr.splitlines()[-1].partition(": ")
    if kind.endswith("ConfigurationError"):
        raise CannotBuild(text)
    raise CannotBuild(f"HANDLER_NAME: {handler} can't be loaded from the artifact: {kind}: {text}")


def _zipped(tree: Path) -> Path:
    for former in tree.parent.glob("*.zip"):
        if former.stat().st_mtime < time.time() - KEPT:
            former.unlink()
    path = Path(f"{tree}.new")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in tree.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(tree).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, file.read_bytes())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(path.with_name(f"{digest}.zip"))


def _pip(command: str, *arguments: str) -> None:
    _run([sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *arguments])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        _say(done.stdout)
        raise CannotBuild(f"Could not build the artifact: {' '.join(command[1:4])} ... failed, see above.")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    try:
        print(build(*sys.argv[1:4], Path(sys.argv[4])))
    except CannotBuild as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says it
