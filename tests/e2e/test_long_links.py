"""Links that outlive the credentials they are made with, as those of a Lambda function's role are."""

import datetime as dt
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from botocore.config import Config

from tests.e2e.scenario import looked_at
from tests.support.emulator import Emulator
from tests.support.pictures import picture
from tests.support.server import Server

WEEK = 604_800
LIFE = 8  # seconds of the credentials; AWS gives none that end so soon, the emulator does


def temporary(emulator: Emulator, seconds: int) -> Mapping[str, str]:
    """Return credentials that the emulator refuses after some seconds, as a function's environment holds them."""
    sts = emulator.new_client("sts", Config(parameter_validation=False))
    given = sts.get_session_token(DurationSeconds=seconds)["Credentials"]
    sts.close()
    return {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }


def test_a_link_for_a_week_outlives_what_it_was_made_with(tmp_path: Path, emulator: Emulator) -> None:
    data = picture("png", 320, 200)
    place = emulator.home()
    credentials = temporary(emulator, LIFE)
    end = time.monotonic() + LIFE
    with Server(tmp_path / "one", environment={**place, **credentials}) as server:
        port = str(urlsplit(server.url).port)
        image = server.http.post("/images", files={"file": ("a.png", data)}, data={"tags": "cat"}).json()
        path = f"/images/{image['image_id']}"
        short = server.http.get(path, params={"expires_in": 600}).json()["url"]
        assert short.startswith(emulator.url)
        long = server.http.get(path, params={"expires_in": WEEK}).json()
        saved = server.http.get(path, params={"expires_in": WEEK, "download": "true"}).json()["url"]
        small = server.http.get(path, params={"expires_in": WEEK, "width": 64, "format": "webp"}).json()["url"]
        negotiated = server.http.get(
            path, params={"expires_in": WEEK, "width": 64}, headers={"Accept": "image/webp"}
        ).json()["url"]
        for url in (long["url"], saved, small, negotiated):
            assert url.startswith(f"{server.url}{path}/content?")
        promised = dt.datetime.fromisoformat(long["expires_at"]) - dt.datetime.now(dt.UTC)
        assert abs(promised.total_seconds() - WEEK) < 30
        assert httpx.get(short).content == data
        assert httpx.get(long["url"], follow_redirects=True).content == data
    time.sleep(max(0, end + 1 - time.monotonic()))
    assert httpx.get(short).status_code in (400, 403)  # it died with its credentials, as it does at AWS

    # The function is started anew with other credentials: the links are the same, and so are their keys.
    fresh = {**place, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with Server(tmp_path / "two", environment={**fresh, "PORT": port}):
        answer = httpx.get(long["url"], follow_redirects=True)
        assert (answer.status_code, answer.content) == (200, data)
        answer = httpx.get(saved, follow_redirects=True)
        assert answer.headers["content-disposition"].startswith('attachment; filename="a.png"')
        for url in (small, negotiated):
            answer = httpx.get(url, headers={"Accept": "image/avif"})
            assert answer.status_code == 302
            assert looked_at(answer.headers["location"]) == ("WEBP", (64, 40))
        assert httpx.get(long["url"].replace("expires=", "expires=1")).status_code == 403


def test_lists_have_such_links_too(tmp_path: Path, emulator: Emulator) -> None:
    """Where links last for longer than an hour unless somebody asks for less."""
    environment = {
        **emulator.home(),
        "PRESIGNED_URL_EXPIRATION": "86400",
        **temporary(emulator, 3_600),
    }
    data = picture("png", 320, 200)
    with Server(tmp_path / "data", environment=environment) as server:
        server.http.post("/images", files={"file": ("a.png", data)})
        (image,) = server.http.get("/images", params={"include": "urls"}).json()["images"]
        life = dt.datetime.fromisoformat(image["expires_at"]) - dt.datetime.now(dt.UTC)
        assert 86_300 < life.total_seconds() <= 86_400
        for url in (image["url"], image["thumbnail_url"]):
            assert url.startswith(f"{server.url}/images/{image['image_id']}/content?")
            assert httpx.get(url, follow_redirects=True).status_code == 200
        assert httpx.get(image["url"], follow_redirects=True).content == data
