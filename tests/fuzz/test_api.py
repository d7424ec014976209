"""Thousands of requests that schemathesis makes up from the OpenAPI document, right and wrong, in both modes.

The document is the one that the server hands out. Each answer is checked against it; and in the end the server is as it
was before: alive, with nothing in its log, no larger, and empty.

`FUZZ_EXAMPLES` says how many each operation gets, `FUZZ_SEED` which ones.
"""

import itertools
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import AuthContext, Case, HookContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.engine import StopReason, events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData

from tests.support.seeds import PICTURES, Seeds
from tests.support.server import Server
from tests.support.tokens import AUTH, bearer, token

log = logging.getLogger(__name__)

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "70"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CASES = 2_500  # in each mode, at least
# What is only reached by whoever has found something, and has something to send.
REACHED = {200, 201, 204, 302, 304, 400, 403, 404, 405, 409, 412, 413, 415, 422}
MOST_GROWTH = 8 * 1024 * 1024  # bytes; it is one or two

# Every kind of body that is a picture: one that is, or a few bytes.
for content_type, data in PICTURES.items():
    schemathesis.openapi.media_type(content_type, st.just(data) | st.binary(max_size=64))
schemathesis.openapi.format("binary", st.sampled_from(sorted(PICTURES.values())) | st.binary(max_size=64))


class Found(AssertionError):
    """What the server may not do, with the requests at which it did it."""


def config(seed: int, *, is_first: bool, is_open: bool) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "suppress-health-check": ["all"],
            "generation": {"deterministic": True, "max-examples": EXAMPLES, "no-shrink": True},
            # All that the document says of each parameter, one by one: it has no seed, so once is enough.
            "phases": {"coverage": {"enabled": is_first}},
            # With tokens, what one caller has made is not there for another.
            "checks": {"ensure_resource_availability": {"enabled": is_open}},
            "operations": [
                {
                    # OPTIONS names the methods of `/images/{image_id}` too, which has this path among its own.
                    "include-operation-id": "delete_images",
                    "checks": {"allow_header_conformance": {"enabled": False}},
                },
            ],
        }
    )


class Run:
    """A server that is called with what schemathesis makes up."""

    def __init__(self, server: Server, http: httpx.Client) -> None:
        self.seeds = Seeds(http)
        self.statuses: Counter[int] = Counter()
        self._server = server
        self._failures: dict[tuple[str, str], str] = {}

    def fuzz(self, seed: int, *, is_first: bool, is_open: bool) -> None:
        schema = schemathesis.openapi.from_url(
            f"{self._server.url}/openapi.json", config=config(seed, is_first=is_first, is_open=is_open)
        )
        schema.hook(filter_failure)
        if not is_open:
            schema.auth(refresh_interval=None)(Tokens)
        with hooked(self.seeds):
            for event in from_schema(schema).execute():
                self._note(event)

    def _note(self, event: events.EngineEvent) -> None:
        match event:
            case events.ScenarioFinished():
                for case_id, interaction in event.recorder.interactions.items():
                    if interaction.response is None:
                        self._failures[event.recorder.label, "no answer"] = case_id
                    else:
                        self.statuses[interaction.response.status_code] += 1
                for case_id, checks in event.recorder.checks.items():
                    for info in filter(None, (check.failure_info for check in checks)):
                        found = (info.failure.operation or "", f"{info.failure.title}: {info.failure.message[:300]}")
                        answer = event.recorder.interactions[case_id].response
                        self._failures.setdefault(found, f"{info.code_sample}\n{answer.text if answer else ''}")
            case events.NonFatalError():
                self._failures[event.label, str(event.info)] = ""
            case events.FatalError():
                raise event.exception
            case events.EngineFinished():
                assert event.stop_reason is StopReason.COMPLETED
                assert not event.failures

    def check(self) -> None:
        """Raise Found."""
        found = [f"{label}: {what}\n{sample}" for (label, what), sample in sorted(self._failures.items())]
        if found:
            raise Found(f"{len(found)} found\n" + "\n\n".join(found[:20]))


@contextmanager
def hooked(seeds: Seeds) -> Iterator[None]:
    """Have the seeds sown: such hooks are known by their names, and for all documents together only."""

    @schemathesis.hook
    def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
        seeds.before_call(case)

    @schemathesis.hook
    def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
        seeds.after_call(case, response)

    try:
        yield
    finally:
        schemathesis.hooks.unregister(before_call)
        schemathesis.hooks.unregister(after_call)


# What JSON Schema has no words for, or none that a person could read.
UNSPEAKABLE = (
    "wants no control character",
    "wants no noncharacter",
    "wants no character that turns the direction",
    "wants the name of a file",
    "wants tags of at most",
    "wants how one tag begins",
    "wants the picture in base64",
    "wants base64 (RFC 4648) or",
    "wants a picture, got nothing",
    "wants an image_id beside it",
    "wants one that was made by now",  # an image_id
    "wants no time in the future",
    "wants no time before the image was made",
    "wants one value, got",  # but it is in the query and in the body
    'wants the JSON object {"',
)
# What depends on what is there, on the picture or on a setting, and on no schema.
CIRCUMSTANCES = {
    "idempotency_key_reused",
    "image_exists",
    "precondition_failed",
    "payload_too_large",
    "unsupported_image_format",
    "undecodable_image",
    "dimensions_mismatch",
    "upload_mismatch",
}


def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Tell whether it is one: what is right by the document may still be refused, for these reasons and no others."""
    if isinstance(failure, AcceptedNegativeData):
        # Taken for a wrong one of which it says itself that nothing was made wrong: in a sequence, after one that was.
        return not failure.message.endswith("Invalid component: positive test case")
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem: Mapping[str, Any] = response.json()
    if problem["code"] == "invalid_request":
        return not all(error["message"].startswith(UNSPEAKABLE) for error in problem["errors"])
    return problem["code"] not in CIRCUMSTANCES


class Tokens:
    """Most requests come from somebody who may do everything, the others from a user and from one who may only look."""

    def __init__(self) -> None:
        may_all, may_write, may_read = token("root", "images:admin"), token("ann"), token("bob", "images:read")
        self._turns = itertools.cycle([may_all, may_all, may_write, may_all, may_all, may_read])

    def get(self, case: Case[Any], context: AuthContext) -> str:
        return next(self._turns)

    def set(self, case: Case[Any], data: str, context: AuthContext) -> None:
        case.headers.update(bearer(data))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "tokens"])
def test_no_request_does_any_harm(
    tmp_path: Path, record_property: Callable[[str, object], None], is_open: bool
) -> None:
    environment = {} if is_open else AUTH
    headers = {} if is_open else bearer(token("root", "images:admin"))
    started = time.monotonic()
    with (
        Server(tmp_path / "data", environment=environment) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=30) as http,
    ):
        run = Run(server, http)
        run.fuzz(SEED, is_first=True, is_open=is_open)
        before = server.rss()  # by now everything is loaded that ever is
        run.fuzz(SEED + 1, is_first=False, is_open=is_open)
        growth = server.rss() - before
        cases = run.seeds.counted
        summary = f"{cases} cases in {time.monotonic() - started:.0f} s, {growth // 1024} KiB more, {run.statuses}"
        log.info(summary)
        record_property("fuzz", summary)
        run.check()
        assert set(run.statuses) >= REACHED
        assert cases >= CASES
        assert server.process.poll() is None
        assert growth < MOST_GROWTH
        run.seeds.delete_everything()
        assert http.get("/usage").json() == {"images": 0, "bytes": 0}
        assert http.get("/tags").json()["tags"] == []
        assert [path for path in (server.data_dir / "objects").rglob("*") if path.is_file()] == []
        assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    # Not all that is sent is HTTP.
    said = {(line["level"], line["message"]) for line in lines}
    assert {level for level, message in said if message != "Invalid HTTP request received."} == {"INFO"}
    assert not any("traceback" in line for line in lines)
