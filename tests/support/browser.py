"""The gallery in a real Chromium, and what it may never do there, whatever is tested."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 15_000  # milliseconds that the page has for what is expected of it

# What the page shifts that nobody has touched (the Layout Instability API); lines of uploads may change places.
_WATCH_SHIFTS = """
    window.shifts = 0;
    const isUpload = ({ node }) => !node || (node.closest ? node : node.parentElement)?.closest("#uploads");
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (!entry.hadRecentInput && !entry.sources.every(isUpload)) window.shifts += entry.value;
        }
    }).observe({ type: "layout-shift", buffered: true });
"""


def executable() -> str:
    """Return the path of the browser. It is a test's failure if there is none."""
    for name in NAMES:
        if path := os.environ.get("CHROMIUM") or shutil.which(name):
            return path
    raise AssertionError("The browser tests need Chromium (Debian: apt install chromium), or its path in CHROMIUM.")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser. Only within this context, and in no coroutine, its objects may be used."""
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=options)
        yield browser
        browser.close()


class Gallery:
    """A tab with the gallery of a server, which notes what must not be: errors and requests to somewhere else."""

    def __init__(self, browser: Browser, url: str, *storages: str, **context: Any) -> None:
        """`url` is where the service is reached, with its path prefix; `storages` are where its links may lead."""
        self.url = url.rstrip("/") + "/"
        self._origins = {_origin(address) for address in (url, *storages)}
        self.errors: list[str] = []
        self.requests: list[Request] = []
        self._expected: list[re.Pattern[str]] = []
        self._deleted: set[str] = set()
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context})
        self.context.set_default_timeout(WAIT)
        self.context.add_init_script(_WATCH_SHIFTS)
        self.page: Page = self.context.new_page()
        self._watch(self.page)

    def _watch(self, page: Page) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._on_request)
        # Listened to from the start: a dialog that is opened just when a test begins to listen may be missed.
        page.on("filechooser", lambda _: None)

    def open(self, query: str = "", *, is_settled: bool = True) -> "Gallery":
        """Go to the gallery; wait until the list is there, unless it can't be."""
        self.page.goto(f"{self.url}{query}")
        if is_settled:
            self.page.locator("#grid[aria-busy=false]").wait_for(state="attached")
        return self

    def close(self) -> None:
        """Close the tab, and check that nothing was there that must not be."""
        self.context.close()
        foreign = [request.url for request in self.requests if not self._may_be_asked(request.url)]
        assert not foreign, f"requests to somewhere else: {foreign}"
        unexpected = [error for error in self.errors if not self._may_be_told(error)]
        assert not unexpected, f"errors in the browser's console: {unexpected}"

    def expect_error(self, pattern: str) -> None:
        """Allow an error that matches, such as the browser's own line for an answer that refuses something."""
        self._expected.append(re.compile(pattern))

    # What a person sees. `tiles` are those in the document.

    @property
    def tiles(self) -> Locator:
        return self.page.locator("#grid .tile")

    def tile(self, name: str) -> Locator:
        """Return the tile of the picture with this description or file name."""
        return self.tiles.filter(has=self.page.get_by_role("link", name=name, exact=True))

    @property
    def viewer(self) -> Locator:
        return self.page.locator("dialog.viewer")

    @property
    def dialog(self) -> Locator:
        """The question that is asked."""
        return self.page.locator("dialog.ask[open]")

    @property
    def toasts(self) -> Locator:
        return self.page.locator("#toasts")

    def names(self) -> list[str]:
        """Return what the pictures in the document are called, in their order."""
        return [link.get_attribute("aria-label") or "" for link in self.tiles.locator("a").all()]

    def shifts(self) -> float:
        """Return by how much the layout has shifted by itself (0 is not at all)."""
        value: float = self.page.evaluate("window.shifts")
        return value

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _on_request(self, request: Request) -> None:
        self.requests.append(request)
        if request.method == "DELETE":
            self._deleted.add(urlsplit(request.url).path.rpartition("/")[2])
        elif request.method == "POST" and urlsplit(request.url).path.endswith("/images/delete"):
            self._deleted.update(request.post_data_json["image_ids"])

    def _may_be_told(self, error: str) -> bool:
        """Return if an error is expected, or is about a link that was followed when its picture was deleted."""
        is_late = "404" in error and "ignature=" in error and any(image_id in error for image_id in self._deleted)
        return is_late or any(pattern.search(error) for pattern in self._expected)

    def _may_be_asked(self, url: str) -> bool:
        return urlsplit(url).scheme in ("data", "blob", "about") or _origin(url) in self._origins


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
