"""Time the gallery in Chromium, over 20,000 pictures: its first screen, and scrolling to the 2,000th.

    bash scripts/bench.sh gallery [--visits 7]

The first screen is painted when every tile on it (1280 x 800) shows its thumbnail, counted from the beginning of the
navigation. On the first visit all of these thumbnails are made for it; later ones are of fresh browser contexts, which
have nothing cached. Scrolling is by the wheel, 1,500 pixels at a time without a pause.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from src.models.image import original_key
from tests.support.browser import Gallery, chromium
from tests.support.images import make_image, numbered_id
from tests.support.pictures import noise
from tests.support.server import Server
from tests.support.sqlite import seed

IMAGES = 20_000
FAR = 2_000
SHAPES = ((640, 480), (480, 640), (600, 600), (900, 500), (700, 300))
WHEEL = 1_500  # pixels

PAINTED = """() => new Promise((resolve) => {
    const look = () => {
        const tiles = [...document.querySelectorAll(".tile")]
            .filter((tile) => tile.getBoundingClientRect().top < innerHeight);
        const isThere = tiles.length > 5 && tiles.every((tile) => tile.classList.contains("shown"));
        if (isThere) requestAnimationFrame(() => resolve(performance.now()));
        else requestAnimationFrame(look);
    };
    look();
})"""
WATCH = """() => {
    window.tasks = [];
    const note = (list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration));
    new PerformanceObserver(note).observe({ type: "longtask" });
}"""
SEEN = """() => [
    document.querySelectorAll("img").length,
    Number([...document.querySelectorAll(".tile")].at(-1).ariaPosInSet),
]"""


def fill(data_dir: Path) -> None:
    """Put 20,000 records into a service that does not run, each with one of five pictures."""
    files = {}
    for shape in SHAPES:
        files[shape] = data_dir / f"{shape[0]}.jpg"
        files[shape].write_bytes(noise(*shape, "jpeg"))
    images = []
    for number in range(IMAGES):
        width, height = SHAPES[number % len(SHAPES)]
        image_id = numbered_id(number, 0)
        images.append(make_image(image_id=image_id, filename=f"{number}.jpg", width=width, height=height))
        path = data_dir / "objects" / original_key(image_id, "image/jpeg")
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(files[width, height], path)
    seed(data_dir / "images.sqlite3", *images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=7)
    visits = parser.parse_args().visits
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory) / "data"
        with Server(data_dir) as server:
            server.stop()
        fill(data_dir)
        with Server(data_dir) as server, chromium() as browser:
            taken = []
            for _ in range(visits):
                gallery = Gallery(browser, server.url).open()
                taken.append(gallery.page.evaluate(PAINTED))
                gallery.close()
            first, *others = taken
            print(f"first screen painted: {first:.0f} ms with thumbnails to be made, then {_spread(others)} ms")
            scroll(Gallery(browser, server.url).open())


def scroll(gallery: Gallery) -> None:
    page = gallery.page
    page.evaluate(WATCH)
    page.mouse.move(600, 400)
    most = furthest = 0
    started = time.monotonic()
    while furthest < FAR:
        page.mouse.wheel(0, WHEEL)
        pictures, furthest = page.evaluate(SEEN)
        most = max(most, pictures)
    seconds = time.monotonic() - started
    tasks: list[float] = page.evaluate("window.tasks")
    longest = f"the longest {max(tasks):.0f} ms" if tasks else "none"
    print(f"to picture {FAR}: {seconds:.1f} s, at most {most} img elements, tasks over 50 ms: {longest}")
    gallery.context.close()


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


if __name__ == "__main__":
    main()
