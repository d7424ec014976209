"""The examples of the API reference: commands by operation, run in one shell against a server of their own."""

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.support.console import ID, SERVICE, run
from tests.support.pictures import picture
from tests.support.server import Server

CAT = picture("jpeg", 350, 206)
AS_JSON = "curl -s -H 'Content-Type: application/json'"
TAKE_ID = """id=$(python3 -c 'import json; print(json.load(open("image.json"))["image_id"])')"""
SHOW_STATUS = "-w '%{http_code}\\n'"
UPLOAD = f"curl -s -F file=@cat.jpg -F tags=cat,garden -F user_id=ann {SERVICE}/images"
DECLARED = f'{{"content_type": "image/jpeg", "size": {len(CAT)}, "tags": ["cat"]}}'
DECLARE = f"{AS_JSON} -d '{DECLARED}' {SERVICE}/uploads"
WRITE_FORM = (
    """python3 -c 'import json; [print(f"form-string = \\"{n}={v}\\"") """
    """for n, v in json.load(open("image.json"))["upload"]["fields"].items()]' >form.txt"""
)
# By operation id; they are run in the order of the page.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "upload_image": (f"{UPLOAD} | tee image.json", TAKE_ID),
    "list_images": (f"curl -s '{SERVICE}/images?tags=cat&user_id=ann&limit=1'",),
    "get_image": (f'curl -s "{SERVICE}/images/$id?expires_in=600"',),
    "get_content": (
        "curl -s -L -o cat.webp -w '%{http_code} %{content_type}\\n' "
        f'"{SERVICE}/images/$id/content?width=64&format=webp"',
    ),
    "update_image": (f"""{AS_JSON} -X PATCH -d '{{"tags": ["cat"]}}' "{SERVICE}/images/$id\"""",),
    "delete_image": (f'curl -s -X DELETE {SHOW_STATUS} "{SERVICE}/images/$id"',),
    "delete_images": (
        f"{UPLOAD} >image.json",
        TAKE_ID,
        f'{AS_JSON} -d "{{\\"image_ids\\": [\\"$id\\"]}}" {SERVICE}/images/delete',
    ),
    "declare_upload": (f"{DECLARE} | tee image.json", TAKE_ID),
    "get_upload": (f'curl -s "{SERVICE}/uploads/$id"',),
    "complete_upload": (
        WRITE_FORM,
        f"curl -s -K form.txt -F file=@cat.jpg {SERVICE}/objects/",
        f'curl -s -X POST "{SERVICE}/uploads/$id/complete"',
    ),
    "cancel_upload": (
        f"{DECLARE} >image.json",
        TAKE_ID,
        f'curl -s -X DELETE {SHOW_STATUS} "{SERVICE}/uploads/$id"',
    ),
}
# Values that differ from run to run, and those that the page has in their stead.
SETTLED = (
    (re.compile(ID), "01a20387-a2de-74e1-8a8e-1f81a90f15ac"),
    (re.compile(r"(originals|incoming)/\w\w/"), r"\1/ac/"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "2026-11-22T13:52:30.430000Z"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "2026-11-22T14:52:30Z"),
    (re.compile(r'(X-Amz-Algorithm=)[^"]*'), r"\1…"),
    (re.compile(r'("policy":)"[^"]*"'), r'\1"…"'),
    (re.compile(r'("x-amz-[a-z]+":)"[^"]*"'), r'\1"…"'),
    (re.compile(r"(base64,.{16})[^\"]*"), r"\1…"),
)


def transcripts(operations: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Run the examples of operations in this order, and return each as a transcript with what it printed."""
    commands = [(operation["operationId"], command) for operation in operations for command in _example(operation)]
    with tempfile.TemporaryDirectory() as scratch, Server(Path(scratch) / "data") as server:
        (Path(scratch) / "cat.jpg").write_bytes(CAT)
        outputs = run([command for _, command in commands], Path(scratch), service=server.url)
    found: dict[str, str] = {}
    for (operation_id, command), output in zip(commands, outputs, strict=True):
        shown = output.strip()
        for pattern, settled in SETTLED:
            shown = pattern.sub(settled, shown)
        found[operation_id] = f"{found.get(operation_id, '')}$ {command}\n" + (f"{shown}\n" if shown else "")
    return found


def _example(operation: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the commands that show an operation; none if it can't be called without knowing more."""
    if found := EXAMPLES.get(operation["operationId"]):
        return found
    wants = any(parameter["required"] for parameter in operation.get("parameters", ()))
    is_json = "application/json" in operation["responses"].get("200", {}).get("content", ())
    return (f"curl -s {SERVICE}{operation['path']}",) if operation["method"] == "GET" and is_json and not wants else ()
