"""`image-service token` as a process, and a server that believes what it makes."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import jwt
import pytest

from tests.support import command
from tests.support.pictures import picture
from tests.support.server import ROOT, Server, environment_with

SECRET = "the secret of a server that is long enough"
OTHER = "another secret of a server that is as long"
COMMAND = [sys.executable, "-m", "src", "token"]
DAY = 86_400  # seconds
OPEN = "nobody is asked who they are"


def run(*options: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options], cwd=ROOT, env=environment_with(**environment), capture_output=True, text=True, timeout=30
    )


def invoke(*options: str, **environment: str) -> tuple[int, str, str]:
    return command.invoke("token", *options, **environment)[:3]


def minted(*options: str, **environment: str) -> str:
    code, out, err = invoke(*options, **{"AUTH_SECRET": SECRET, **environment})
    assert (code, err) == (0, ""), err
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", out)
    return out.strip()


def claims_of(token: str, secret: str = SECRET, **options: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token, secret, algorithms=["HS256"], **options)  # type: ignore[arg-type]
    return claims


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"AUTH_SECRET": f"{SECRET},{OTHER}", "HOST": "0.0.0.0", "LOG_LEVEL": "DEBUG"}
    with Server(tmp_path_factory.mktemp("guarded") / "data", environment=environment) as server:
        yield server


# What it makes.


def test_for_machines() -> None:
    code, out, err = invoke("--user", "alice", "--json", AUTH_SECRET=SECRET)
    made = json.loads(out)
    assert (code, err, made["user_id"], made["scope"]) == (0, "", "alice", "images:write")
    assert claims_of(made["token"])["sub"] == "alice"


def test_as_the_manual_says() -> None:
    """One line, and nothing else."""
    before = int(time.time())
    done = run("--user", "alice", "--scope", "images:write", "--expires", "30d", environment={"AUTH_SECRET": SECRET})
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    claims = claims_of(done.stdout.strip())
    assert claims == {"sub": "alice", "scope": "images:write", "iat": claims["iat"], "exp": claims["exp"]}
    assert before <= claims["iat"] <= time.time()  # type: ignore[operator]
    assert claims["exp"] - claims["iat"] == 30 * DAY  # type: ignore[operator]


def test_where_nothing_is_said() -> None:
    """What makes images of one's own, for an hour: never an administrator."""
    claims = claims_of(minted("--user", "alice"))
    assert claims["scope"] == "images:write"
    assert claims["exp"] - claims["iat"] == 3_600  # type: ignore[operator]


@pytest.mark.parametrize(
    ("life", "seconds"), [("1s", 1), ("90s", 90), ("15m", 900), ("2h", 7_200), ("3650d", 3_650 * DAY)]
)
def test_how_long_it_is_good(life: str, seconds: int) -> None:
    claims = claims_of(minted("--user", "alice", "--expires", life))
    assert claims["exp"] - claims["iat"] == seconds  # type: ignore[operator]


def test_what_else_is_in_it() -> None:
    token = minted(
        "--user", "auth0|a.b@c", "--scope", "images:read", "--scope", "images:admin", AUTH_ISSUER="i", AUTH_AUDIENCE="a"
    )
    claims = claims_of(token, issuer="i", audience="a")
    assert (claims["sub"], claims["scope"]) == ("auth0|a.b@c", "images:read images:admin")


def test_the_first_secret_signs() -> None:
    token = minted("--user", "alice", AUTH_SECRET=f"{OTHER}, {SECRET}")
    assert claims_of(token, OTHER)["sub"] == "alice"


# What it does not make.


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ([], {"AUTH_SECRET": ""}, "AUTH_SECRET: got nothing, wants "),
        ([], {"AUTH_SECRET": "open-sesame"}, "AUTH_SECRET: got a value that is not shown, wants "),
        ([], {"AUTH_SECRET": f"{SECRET},open-sesame"}, "AUTH_SECRET: got a value that is not shown, wants "),
        ([], {"AUTH_SECRET": f"-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----"}, "AUTH_SECRET: got a "),
        ([], {"AUTH_SECRET": "\udcff" * 40}, "AUTH_SECRET: got a value that is not shown, wants "),
        (
            [],
            {"AUTH_SECRET": "", "AUTH_JWKS_URL": "https://a.b/", "AUTH_ISSUER": "i", "AUTH_AUDIENCE": "a"},
            "AUTH_SECRET: got nothing, wants ",
        ),
        ([], {"AUTH_JWKS_URL": "https://a.b/", "AUTH_ISSUER": "i", "AUTH_AUDIENCE": "a"}, "AUTH_SECRET, AUTH_JWKS_URL"),
        ([], {"PORT": "many"}, "PORT: got 'many', wants "),
        (["--user", ""], {}, "--user: got '', wants 1 to 128 characters"),
        (["--user", "a b"], {}, "--user: got 'a b', wants "),
        (["--user", "a\nb"], {}, r"--user: got 'a\nb', wants "),
        (["--user", "../a"], {}, "--user: got '../a', wants "),
        (["--user", "ä"], {}, "--user: got 'ä', wants "),
        (["--user", "a" * 129], {}, "--user: got 'aaa"),
        (["--user", "\udcff"], {}, r"--user: got '\udcff', wants "),
        (["--expires", "0s"], {}, "--expires: wants more than nothing"),
        (["--expires", "3651d"], {}, "--expires: wants more than nothing, and at most 3650d"),
        (["--expires", "999999d"], {}, "--expires: wants more than nothing, and at most 3650d"),
    ],
    ids=repr,
)
def test_mistakes(options: list[str], environment: dict[str, str], said: str) -> None:
    """One clear line, without the secret."""
    code, out, err = invoke("--user", "alice", *options, **{"AUTH_SECRET": SECRET, **environment})
    assert (code, out) == (2, "")
    assert err.startswith(f"image-service: {said}")
    assert err.count("\n") == 1
    assert SECRET not in err
    assert "sesame" not in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Missing option '--user'"),
        (["--user"], "Option '--user' requires an argument"),
        (["--user", "a", "--scope", "images:delete"], "'images:delete' is not one of 'images:read'"),
        (["--user", "a", "--scope", "IMAGES:READ"], "is not one of"),
        (["--user", "a", "--scope", ""], "is not one of"),
        (["--user", "a", "--scope", "images:read images:write"], "is not one of"),
        *(
            (["--user", "a", "--expires", life], "such as 90s, 15m, 1h or 2d")
            for life in ("", "1", "d", "-1d", "1.5h", "1w", "1D", " 1d", "1h30m", "９d", "9999999d", "never")
        ),
        (["--user", "a", "--secret", SECRET], "No such option"),
        (["alice"], "unexpected extra argument"),
    ],
    ids=repr,
)
def test_misspelt_options(options: list[str], said: str) -> None:
    code, out, err = invoke(*options, AUTH_SECRET=SECRET)
    assert (code, out) == (2, "")
    errors = [line for line in err.splitlines() if not re.match(r"Usage: |Try |$", line)]
    assert len(errors) == 1
    assert said.lower() in errors[0].lower() or "missing option" in errors[0].lower()
    assert SECRET not in err


def test_a_mistake_of_a_process() -> None:
    """No traceback there, either."""
    for environment, options in (
        ({}, ["--user", "alice"]),
        ({"AUTH_SECRET": "open-sesame"}, ["--user", "alice"]),
        ({"AUTH_SECRET": os.fsdecode(b"\xff\xfe" * 20)}, ["--user", "alice"]),
    ):
        done = run(*options, environment=environment)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert done.stderr.startswith("image-service: AUTH_SECRET: got ")
        assert "sesame" not in done.stderr


def test_help() -> None:
    code, out, _ = invoke("--help", AUTH_SECRET=SECRET)
    assert code == 0
    for words in ("--user", "--scope", "--expires", "[default: 1h]", "[default: images:write]", "AUTH_SECRET"):
        assert words in out
    assert SECRET not in out


# With a server.


def test_what_it_makes_is_believed(guarded: Server) -> None:
    """By the old secret and the new one; and each token opens what its scope says."""
    assert guarded.http.get("/images").status_code == 401
    read, write, admin = (minted("--user", "alice", "--scope", f"images:{s}") for s in ("read", "write", "admin"))
    old = minted("--user", "alice", AUTH_SECRET=OTHER)
    for token, status in ((read, 403), (write, 201), (old, 201), (admin, 201)):
        answer = guarded.http.post(
            "/images", content=picture("png"), headers={"Content-Type": "image/png", **bearer(token)}
        )
        assert answer.status_code == status
        if status == 201:
            assert answer.json()["user_id"] == "alice"
        else:
            assert 'scope="images:write"' in answer.headers["www-authenticate"]
            assert "images:write" in answer.json()["detail"]
    assert guarded.http.get("/images", headers=bearer(read)).json()["count"] == 3
    assert guarded.http.get("/images", headers=bearer(minted("--user", "bob"))).json()["count"] == 0
    other = minted("--user", "alice", AUTH_SECRET="a third secret that is long enough as well")
    answer = guarded.http.get("/images", headers=bearer(other))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


def test_its_end_is_honoured(guarded: Server) -> None:
    """Give or take the minute that clocks may be wrong by."""
    ends = {}
    for age, status in ((50, 200), (65, 401), (DAY, 401)):
        now = int(time.time()) - age
        token = jwt.encode({"sub": "alice", "scope": "images:read", "iat": now - 1, "exp": now}, SECRET)
        answer = guarded.http.get("/images", headers=bearer(token))
        assert answer.status_code == status
        ends[age] = answer
    assert ends[65].json()["detail"] == "The token has expired."
    assert "invalid_token" in ends[65].headers["www-authenticate"]


def test_nothing_secret_is_in_the_log(guarded: Server) -> None:
    """Whatever comes, and at the level that says the most; who called is."""
    token = minted("--user", "carol", "--scope", "images:read")
    signature = token.rpartition(".")[2]
    spoilt = f"{token[:-4]}AAAA"
    for header in (f"Bearer {token}", f"Bearer {spoilt}", f"Basic {token}", token, f"Bearer {token} {token}"):
        guarded.http.get("/images", headers={"Authorization": header})
    guarded.http.get("/images", params={"access_token": token}, headers=bearer(token))
    guarded.http.post("/images", content=b"x", headers={"Content-Type": "image/png", **bearer(token)})
    log = guarded.log.read_text()
    for secret in (SECRET, OTHER, token, signature, spoilt[-20:]):
        assert secret not in log
    lines = [json.loads(line) for line in log.splitlines()]
    assert any(line.get("user_id") == "carol" and line.get("status") == 200 for line in lines)
    assert any(line.get("status") == 401 and "user_id" not in line for line in lines)


def test_with_tokens_any_address_will_do(guarded: Server) -> None:
    """Without a word about everybody's doing everything."""
    assert guarded.url.startswith("http://127.0.0.1:")
    assert guarded.http.get("/readyz").status_code == 200
    assert OPEN not in guarded.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_open_service_says_so(workers: str, tmp_path: Path) -> None:
    """In one line of the log, however many processes there are."""
    environment = {"HOST": "0.0.0.0", "ALLOW_ANONYMOUS": "1", "WORKERS": workers}
    with Server(tmp_path / "data", environment=environment) as server:
        assert server.http.get("/images").status_code == 200
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    said = [line for line in lines if OPEN in line["message"]]
    assert len(said) == 1
    assert said[0]["level"] == "WARNING"
    assert "ALLOW_ANONYMOUS=1" in said[0]["message"]


def test_on_loopback_it_says_nothing(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        assert httpx.get(f"{server.url}/images").status_code == 200
        assert OPEN not in server.log.read_text()


@pytest.mark.parametrize(
    "secret",
    ["open-sesame", os.fsdecode(b"\xff" * 40), f"-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----"],
    ids=repr,
)
def test_a_secret_that_is_none_starts_nothing(secret: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "src", "serve"],
        cwd=ROOT,
        env=environment_with(DATA_DIR=str(tmp_path / "data"), PORT="0", AUTH_SECRET=secret, ALLOW_ANONYMOUS="1"),
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("image-service: AUTH_SECRET: got a value that is not shown, wants ")
