"""Every command in the README and in docs/ is run, or it is said here why it can't be, and checked as far as it can."""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import httpx
import pytest
import yaml

from src.cli import main
from src.common.config import VARIABLES
from tests.support.awscli import quick_aws
from tests.support.console import SERVICE, Block, Step, blocks, matches, run, walk
from tests.support.deployment import Deployment
from tests.support.emulator import Emulator
from tests.support.pictures import picture
from tests.support.server import ROOT, Server
from tests.support.tokens import SECRET, token

README, OPERATIONS = "README.md", "docs/operations.md"
PAGES = (README, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
BLOCKS = [block for page in PAGES for block in blocks(ROOT / page)]
NO_COMMANDS = {"html", "text", "yaml"}  # languages
SHOWN = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
MADE = "docs/api.md"  # whose commands are run to make it: tests/test_docs.py compares

# Headings whose console blocks are walked, by who walks them.
OPEN = (README, "A walk through it", "Direct uploads")
WITH_TOKEN = (README, "Access")
BACKUP = (OPERATIONS, "Embedded: backup")
RESTORE = (OPERATIONS, "Embedded: restore")
AWS_BACKUP = (OPERATIONS, "AWS: backup")
AWS_RESTORE = (OPERATIONS, "AWS: restore")
KEYS = (OPERATIONS, "Changing keys")
RECONCILE = (OPERATIONS, "Reconcile", "Metrics")
COMMANDS = (README, "Command line")
MIGRATION = (OPERATIONS, "Migration, embedded to AWS")
WALKED = (COMMANDS, MIGRATION, OPEN, WITH_TOKEN, BACKUP, RESTORE, AWS_BACKUP, AWS_RESTORE, KEYS, RECONCILE)
TAKEN_DOWN = (README, "aws cloudformation delete-stack --stack-name imageService")

# By page and first line: why these are not run. Each is checked by `check_unrun`.
SERVES = "it serves until it is ended, in the repository's own environment: tests/e2e/test_serve.py starts the same"
DEPLOYS = "it deploys to AWS: tests/e2e/test_deploy.py runs the script on the emulator"
DOCKER = "it needs Docker: tests/test_containers.py reads what it would"
NOT_RUN: Mapping[tuple[str, str], str] = {
    (README, "bash scripts/serve.sh"): f"{SERVES}; and test.sh is what runs this",
    (README, "export AUTH_SECRET=$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')"): SERVES,
    (README, "bash scripts/serve.sh --storage aws"): SERVES,
    (
        README,
        "AUTH_SECRET=generate BUCKET_NAME=my-images TABLE_NAME=my-image-metadata bash scripts/deploy.sh",
    ): DEPLOYS,
    (
        README,
        ".venv/bin/pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
    ): f"it installs packages; {SERVES}, and tests/e2e/test_telemetry.py with them",
    (README, "docker compose up -d --wait localstack"): DOCKER,
    (README, "docker build -t image-service ."): DOCKER,
    (README, "docker compose up -d --build embedded"): DOCKER,
    (OPERATIONS, "DATA_DIR=restored bash scripts/serve.sh"): f"{SERVES}; what was restored is served here",
    (OPERATIONS, "BUCKET_NAME=my-images-2 TABLE_NAME=my-image-metadata-2 bash scripts/deploy.sh"): DEPLOYS,
    (
        OPERATIONS,
        "old=$(aws lambda get-function-configuration --function-name imageService "
        "--query Environment.Variables.AUTH_SECRET --output text)",
    ): f"{DEPLOYS}, and this way of getting the secret",
}


def is_walked(block: Block) -> bool:
    return block.is_console and any(block.page == page and block.heading in headings for page, *headings in WALKED)


def test_every_block_is_known() -> None:
    """One that is new has to be walked, or to be in the table above."""
    others = [block for block in BLOCKS if block.language not in {*NO_COMMANDS, "python"} and block.page != MADE]
    unknown = {(block.page, block.first_line) for block in others if not is_walked(block)}
    assert unknown == {*NOT_RUN, TAKEN_DOWN}


def steps(page: str, *headings: str) -> list[Step]:
    """Return the commands below these headings of a page, in order."""
    found = [block for block in BLOCKS if block.is_console and block.page == page and block.heading in headings]
    assert {block.heading for block in found} == set(headings)
    return [step for block in found for step in block.steps()]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the reader's directory, with a picture in it."""
    (tmp_path / "cat.jpg").write_bytes(picture("jpeg", 350, 206))
    return tmp_path


@pytest.fixture
def own_server(directory: Path) -> Iterator[Server]:
    with Server(directory / "data") as server:
        yield server


def test_the_walk_is_as_it_was_written_down(own_server: Server, directory: Path) -> None:
    """Every command of the README's walk prints what stands there."""
    walk(steps(*OPEN), directory, service=own_server.url)


def test_the_commands(own_server: Server, directory: Path) -> None:
    photos = {"sea/waves.jpg": (640, 480), "sea/waves2.jpg": (640, 480), "cat.jpg": (350, 206)}
    for name, size in photos.items():
        (directory / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / "photos" / name).write_bytes(picture("jpeg", *size))
    walk(steps(*COMMANDS), directory, IMAGE_SERVICE_URL=own_server.url)


def test_the_walk_with_a_token(directory: Path) -> None:
    secret = {"AUTH_SECRET": SECRET}
    with Server(directory / "data", environment=secret) as server:
        walk(steps(*WITH_TOKEN), directory, service=server.url, **secret)


def test_the_examples_in_python_print_what_stands_there(
    own_server: Server, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(directory)
    monkeypatch.setenv("IMAGE_SERVICE_URL", own_server.url)
    monkeypatch.delenv("IMAGE_SERVICE_TOKEN", raising=False)
    names: dict[str, object] = {}
    examples = [block.text for block in BLOCKS if block.language == "python"]
    assert len(examples) > 4
    for example in examples:
        assert len(SHOWN.findall(example)) == sum(
            isinstance(node, ast.Call) and ast.unparse(node.func) == "print" for node in ast.walk(ast.parse(example))
        )
        code = example.replace("image_service", "src").replace(SERVICE, own_server.url)
        exec(compile(code, "an example", "exec"), names)
        printed = capsys.readouterr().out.replace(own_server.url, SERVICE)
        assert matches("\n".join(SHOWN.findall(example)), printed.strip())


def test_the_walk_can_fail(directory: Path) -> None:
    assert matches('{"a":"…","b":1}', '{"a":"xyz","b":1}')
    assert not matches('{"a":"…","b":1}', '{"a":"xyz","b":2}')
    walk([Step("echo a", "a\n")], directory)
    for wrong in (Step("echo a", "b\n"), Step("false", ""), Step("exit 0", "")):
        with pytest.raises((AssertionError, ValueError)):
            walk([wrong], directory)


def upload(server: Server, tag: str) -> str:
    answer = server.http.post("/images", files={"file": ("a.png", picture("png"))}, data={"tags": tag})
    image_id: str = answer.json()["image_id"]
    return image_id


def listed(server: Server) -> list[str]:
    """Return the ids of all images, each of which has its bytes."""
    images = server.http.get("/images", params={"include": "urls", "order": "oldest"}).json()["images"]
    assert all(httpx.get(image["url"]).content == picture("png") for image in images)
    return [image["image_id"] for image in images]


def test_backup_and_restore(own_server: Server, directory: Path) -> None:
    """What was there is there again, and what came later is not; nothing of it is wrong."""
    images = [upload(own_server, "a"), upload(own_server, "b")]
    walk(steps(*BACKUP), directory)
    upload(own_server, "late")
    walk(steps(*RECONCILE), directory)
    own_server.kill()
    walk(steps(*RESTORE), directory)
    with Server(directory / "restored") as server:
        assert listed(server) == images


def test_migration(own_server: Server, emulator: Emulator, directory: Path) -> None:
    """Also of what is new and what was changed between the two passes."""
    tokens = {"AUTH_SECRET": SECRET}
    images = [upload(own_server, "a"), upload(own_server, "b")]
    with Server(directory / "aws", environment=emulator.home() | tokens) as aws:
        each = [Step(command.replace("https://images.example.com", aws.url), _) for command, _ in steps(*MIGRATION)]
        environment = tokens | {"IMAGE_SERVICE_URL": own_server.url, "IMAGE_SERVICE_TOKEN": token("me", "images:admin")}
        walk(each[:3], directory, **environment)
        own_server.http.patch(f"/images/{images[0]}", json={"tags": ["changed"]})
        upload(own_server, "c")
        walk(each[3:], directory, **environment)
        aws.http.headers["Authorization"] = f"Bearer {environment['IMAGE_SERVICE_TOKEN']}"
        assert aws.http.get("/images").json() == own_server.http.get("/images").json()


def test_keys_are_changed(directory: Path) -> None:
    walk(steps(*KEYS), directory, AUTH_SECRET=SECRET)


@pytest.fixture(scope="module")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with quick_aws(tmp_path_factory.mktemp("aws")) as directory:
        yield directory


@pytest.fixture
def aws(emulator: Emulator, command_line: Path, directory: Path) -> dict[str, str]:
    """Return an environment with the AWS command line in it, with the bucket and the table that the pages name."""
    names = {"BUCKET_NAME": emulator.new_bucket("my-images"), "TABLE_NAME": emulator.new_table("my-image-metadata")}
    environment = Deployment(emulator, home=directory / "home").environment | names | {"STORAGE": "aws"}
    return environment | {"PATH": f"{command_line}:{environment['PATH']}"}


def test_taking_it_down(aws: dict[str, str], emulator: Emulator, directory: Path) -> None:
    emulator.client("s3").put_object(Bucket="my-images", Key="a", Body=b"a")
    (block,) = [block for block in BLOCKS if (block.page, block.first_line) == TAKEN_DOWN]
    run(block.text.splitlines(), directory, **aws)
    assert "my-images" not in {bucket["Name"] for bucket in emulator.client("s3").list_buckets()["Buckets"]}
    assert "my-image-metadata" not in emulator.client("dynamodb").list_tables()["TableNames"]


def test_backup_and_restore_on_aws(aws: dict[str, str], emulator: Emulator, directory: Path) -> None:
    """The same with a table and a bucket, and the table as it was at a moment."""
    emulator.new_bucket("my-images-backup")
    with Server(directory / "data", environment=aws) as server:
        image = upload(server, "a")
        walk(steps(*AWS_BACKUP), directory, **aws)
        upload(server, "late")
    restored = {"BUCKET_NAME": emulator.new_bucket("my-images-2"), "TABLE_NAME": "my-image-metadata-2"}  # as deployed
    walk(steps(*AWS_RESTORE), directory, **aws)
    with Server(directory / "data", environment=aws | restored) as server:
        assert listed(server) == [image]
    tables = emulator.client("dynamodb")
    assert tables.scan(TableName="my-image-metadata-3")["Items"] == tables.scan(TableName="my-image-metadata")["Items"]


@pytest.mark.parametrize("block", [b for b in BLOCKS if (b.page, b.first_line) in NOT_RUN], ids=lambda b: b.first_line)
def test_what_is_not_run_could_be(block: Block) -> None:
    """It is proper shell, and scripts, variables, options, commands and containers that it names exist."""
    check_syntax("-c", block.text)
    deploy = (ROOT / "scripts" / "deploy.sh").read_text()
    variables = {variable.name for variable in VARIABLES} | set(re.findall(r"\b[A-Z][A-Z_]+\b", deploy))
    named = set(re.findall(r"(?<![-\w])([A-Z][A-Z_]+)=", block.text))
    assert {name for name in named if not name.startswith("OTEL_")} <= variables
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        for number, word in enumerate(words):
            if word.startswith("scripts/"):
                check_syntax(str(ROOT / word))
            if word == "scripts/serve.sh":
                serve = main.get_command(click.Context(main), "serve")
                assert serve
                options = {name for option in serve.params for name in option.opts}
                assert {after for after in words[number:] if after.startswith("--")} <= options
            if word == "image-service" and words[1] == "run" and words[number + 1 :]:
                assert words[number + 1] in main.list_commands(click.Context(main))
        if words[:2] == ["docker", "compose"]:
            assert words[-1] in services


def check_syntax(*arguments: str) -> None:
    done = subprocess.run(["bash", "-n", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
