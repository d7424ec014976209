"""Make the README's picture of the gallery, docs/gallery.jpg, from the pictures in a directory.

    .venv/bin/python -m scripts.screenshot DIRECTORY

It starts the service with nothing in it, uploads them, each tagged with the words of its name, and opens the gallery in
Chromium. What is no picture is left out.
"""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

from tests.support.browser import Gallery, chromium
from tests.support.server import ROOT, Server

SIZE = {"width": 1200, "height": 680}
QUALITY = 85


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as scratch, Server(Path(scratch) / "data") as server, chromium() as browser:
        for path in sorted(Path(sys.argv[1]).iterdir()):
            tags = re.findall(r"[a-z]{4,}", path.stem.lower())
            with path.open("rb") as file:
                answer = server.http.post("/images", files={"file": (path.name, file)}, data={"tags": tags})
            print(f"{path.name}: {answer.status_code}")
        gallery = Gallery(browser, server.url, viewport=SIZE).open()
        gallery.page.get_by_role("button", name="Filter").click()
        gallery.page.locator(".chips li").first.wait_for()
        gallery.page.evaluate("document.activeElement.blur()")
        expect(gallery.page.locator(".tile:not(.shown)")).to_have_count(0)
        gallery.page.screenshot(path=ROOT / "docs" / "gallery.jpg", type="jpeg", quality=QUALITY, animations="disabled")
        gallery.close()


if __name__ == "__main__":
    main()
