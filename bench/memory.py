"""Measure what uploads that come in at once cost in memory: the peak of the server's resident set, and how fast it is.

    bash scripts/bench.sh memory [--clients 100] [--size 10485760]

The second half of each body is sent once the first halves of all are, so that all are really under way at the same
time. A fresh server for each kind of body; clients in another process on the same machine.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.crowd import Body, bodies, large_png, upload_at_once
from tests.support.server import Server

MEGA = 1_000_000


def measure(name: str, body: Body, clients: int) -> None:
    with tempfile.TemporaryDirectory() as directory, Server(Path(directory) / "data") as server:
        idle = server.rss()
        started = time.perf_counter()
        statuses = asyncio.run(upload_at_once(urlsplit(server.url).netloc, [body] * clients))
        passed = time.perf_counter() - started
        if set(statuses) != {201}:
            raise AssertionError(f"{name}: {Counter(statuses)}")
        rate = clients * len(body.data) / passed / MEGA
        print(f"{name:12}{idle / MEGA:10.0f}{server.peak_rss() / MEGA:10.0f}{clients / passed:12.1f}{rate:10.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--size", type=int, default=10_485_760)
    options = parser.parse_args()
    png = large_png(options.size)
    print(f"{options.clients} clients at once, a PNG of {len(png):,} bytes each")
    print(f"{'':12}{'idle MB':>10}{'peak MB':>10}{'uploads/s':>12}{'MB/s':>10}")
    for name, body in bodies(png).items():
        measure(name, body, options.clients)


if __name__ == "__main__":
    main()
