"""Time pages of 20 among few and among many images, in both homes; count what they cost in DynamoDB.

    bash scripts/bench.sh listing [--sqlite 1000,100000,1000000] [--dynamodb 1000,20000] [--rounds 300] [--keep PLACE]

SQLite is timed in two ways: the whole answer to `GET /images`, from the ASGI application, without a network; and the
repository alone. The databases are asked by turns, round by round, so that what the machine does besides meets all
alike. Each row ends with the median of the largest size over that of the smallest. With `--keep` the SQLite databases
are made once.
"""

import argparse
import asyncio
import logging
import random
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import batched, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.applications import Starlette
from starlette.types import Message

from src.bootstrap import build_services
from src.common.config import Settings
from src.handlers.app import create_app
from src.models.image import Image
from src.models.page import ImageQuery
from src.repositories.dynamodb_counters import additions
from src.repositories.dynamodb_images import DynamoDbImageRepository
from src.repositories.dynamodb_items import Item
from src.repositories.sqlite_images import _insert
from tests.support.emulator import Emulator
from tests.support.images import MILLISECOND, NOON, make_image, numbered_id

from .costs import PLACEHOLDER, CountingTable, packed

USERS = 20
TAGS = 12
EVERY = 50  # milliseconds between two images
WARM_UP = 30  # rounds
UPLOADS = 100  # of those in DynamoDB, which are counted; the others are written in batches
TEMPLATE = make_image(filename="a picture.jpg", description="On the way to the lake.", placeholder=PLACEHOLDER)


def images(number: int) -> Iterator[Image]:
    """Yield images that differ in what lists go by: users and tags by turns, each combination as often as others."""
    for i in range(number):
        yield msgspec.structs.replace(
            TEMPLATE,
            image_id=numbered_id(i * EVERY, i % 7),
            user_id=f"user{i % USERS}",
            tags=(f"a{i % TAGS}", f"b{i // TAGS % TAGS}", "common"),
            sha256=f"{i:064x}",
            created_at=NOON + i * EVERY * MILLISECOND,
            updated_at=NOON + i * EVERY * MILLISECOND,
        )


def queries(number: int, chance: random.Random) -> dict[str, ImageQuery]:
    """Return one query of each kind, from the newest image on or from anywhere, among `number` images."""
    i = chance.randrange(number // 4, number * 3 // 4)
    anywhere, moment = numbered_id(i * EVERY, i % 7), NOON + i * EVERY * MILLISECOND
    user, tag = f"user{chance.randrange(USERS)}", f"a{chance.randrange(TAGS)}"
    return {
        "all": ImageQuery(),
        "all, from anywhere": ImageQuery(after=anywhere),
        "all, oldest first": ImageQuery(order="oldest"),
        "one user": ImageQuery(user_id=user),
        "one user, from anywhere": ImageQuery(user_id=user, after=anywhere),
        "one tag": ImageQuery(tags=(tag,)),
        "one tag, from anywhere": ImageQuery(tags=(tag,), after=anywhere),
        "a user's tag": ImageQuery(user_id=user, tags=("common",), after=anywhere),
        "two tags, all": ImageQuery(tags=("common", tag), after=anywhere),
        "two tags, any": ImageQuery(tags=("b1", tag), tag_mode="any", after=anywhere),
        "without a tag": ImageQuery(exclude_tags=(tag,), after=anywhere),
        "a range of time": ImageQuery(created_before=moment, created_after=moment - 30 * EVERY * MILLISECOND),
    }


def fill(settings: Settings, number: int) -> None:
    """Write what uploads write, in one transaction."""
    asyncio.run(build_services(settings).close())
    with closing(sqlite3.connect(settings.data_dir / "images.sqlite3", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for image in images(number):
            _insert(connection, image)
        connection.execute("COMMIT")


def fill_table(client: Any, name: str, repository: DynamoDbImageRepository, number: int) -> None:
    """Write what uploads write, in batches, and each counter once."""
    counters: Counter[tuple[str, str, str]] = Counter()
    items: list[Item] = []
    for image in images(number):
        items += [operation["item"] for operation in repository._puts(image, guarded=False, attempt="0" * 32)]
        for key, amounts in additions(image, 1):
            counters.update({(key["pk"], key["sk"], what): amount for what, amount in amounts.items()})
    puts = [{"PutRequest": {"Item": packed(item)}} for item in items]
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for (pk, sk, what), amount in counters.items():
        sums.setdefault((pk, sk), packed({"pk": pk, "sk": sk}))[what] = {"N": str(amount)}
    puts += [{"PutRequest": {"Item": item}} for item in sums.values()]
    for batch in batched(puts, 25):
        if client.batch_write_item(RequestItems={name: list(batch)})["UnprocessedItems"]:
            raise AssertionError("the emulator did not write all")


def query_string(query: ImageQuery) -> bytes:
    """Write the query as a client does."""
    given = {"user_id": query.user_id, "created_after": query.created_after, "created_before": query.created_before}
    pairs = [(name, str(value)) for name, value in given.items() if value is not None]
    pairs += [("tags", tag) for tag in query.tags] + [("exclude_tags", tag) for tag in query.exclude_tags]
    pairs += [("tag_mode", query.tag_mode), ("order", query.order)]
    if query.after is not None:
        pairs.append(("last_key", f'{{"image_id": "{query.after}"}}'))
    return urlencode(pairs).encode()


async def answer(app: Starlette, query: bytes) -> int:
    """Call the application as a server does and return how many bytes it answers."""
    scope = {"type": "http", "method": "GET", "path": "/images", "raw_path": b"/images", "query_string": query}
    scope |= {"http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80), "headers": [(b"host", b"h")]}
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if sent[0]["status"] != 200:
        raise AssertionError(sent)
    return sum(len(message.get("body", b"")) for message in sent)


async def measure[Q](
    calls: dict[int, Callable[[Q], Awaitable[object]]], written: Callable[[ImageQuery], Q], rounds: int
) -> None:
    """Print, for each kind and size, the median and the 99th percentile of a page's time in milliseconds."""
    chance = random.Random(1)  # noqa: S311 - no secret
    times: dict[str, dict[int, list[float]]] = {}
    for turn in range(WARM_UP + rounds):
        for number, call in calls.items():
            for kind, query in queries(number, chance).items():
                asked = written(query)
                started = time.perf_counter()
                await call(asked)
                passed = time.perf_counter() - started
                if turn >= WARM_UP:
                    times.setdefault(kind, {}).setdefault(number, []).append(passed * 1000)
    head = "".join(f"{f'{number:,}':>18}" for number in calls)
    print(f"{'p50 and p99 in ms, of images:':30}{head}{'ratio':>8}")
    for kind, by_number in times.items():
        medians = {number: statistics.median(values) for number, values in by_number.items()}
        cells = "".join(
            f"{medians[number]:10.3f}{statistics.quantiles(values, n=100)[98]:8.3f}"
            for number, values in by_number.items()
        )
        print(f"{kind:30}{cells}{medians[max(medians)] / medians[min(medians)]:8.2f}")


async def compare_sqlite(directory: Path, numbers: list[int], rounds: int) -> None:
    apps: dict[int, Starlette] = {}
    for number in numbers:
        home = directory / str(number)
        settings = Settings.from_environment({"DATA_DIR": str(home), "LOG_LEVEL": "ERROR"})
        if not home.exists():
            started = time.perf_counter()
            await asyncio.to_thread(fill, settings, number)
            passed, size = time.perf_counter() - started, (home / "images.sqlite3").stat().st_size / 2**20
            print(f"{number:,} images made in {passed:.1f} s, {size:.0f} MiB")
        with (home / "images.sqlite3").open("rb") as file:  # into memory, where the small ones are anyway
            while file.read(1 << 24):
                pass
        apps[number] = create_app(build_services(settings))
    logging.disable()
    print("\nSQLite, the whole answer")
    await measure({number: partial(answer, app) for number, app in apps.items()}, query_string, rounds)
    print("\nSQLite, the repository alone")
    repositories = {number: app.state.services.repository for number, app in apps.items()}
    await measure({number: repository.list for number, repository in repositories.items()}, lambda query: query, rounds)
    for app in apps.values():
        await app.state.services.close()


async def compare_dynamodb(emulator: Emulator, numbers: list[int]) -> None:
    """Count units: the emulator's time says nothing about DynamoDB's."""
    print("\nDynamoDB: units that are read for a page of 20, and written for an upload, of images:")
    units: dict[str, list[float]] = {}
    for number in numbers:
        client, name = emulator.client("dynamodb"), emulator.new_table()
        table = CountingTable(client, name)
        repository = DynamoDbImageRepository(table)
        fill_table(client, name, repository, number - UPLOADS)
        for image in islice(images(number), number - UPLOADS, None):
            await repository.add(image)
        units.setdefault("upload with 3 tags (written)", []).append(table.units / UPLOADS)
        chance = random.Random(1)  # noqa: S311 - no secret
        for kind in queries(number, chance):
            table.units, rounds = 0.0, 30
            for _ in range(rounds):
                await repository.list(queries(number, chance)[kind])
            units.setdefault(kind, []).append(table.units / rounds)
    print(f"{'':30}" + "".join(f"{number:>12,}" for number in numbers))
    for kind, values in units.items():
        print(f"{kind:30}" + "".join(f"{value:12.1f}" for value in values))


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sqlite", type=numbers, default=[1_000, 100_000, 1_000_000], metavar="N,N,...")
    parser.add_argument("--dynamodb", type=numbers, default=[1_000, 20_000], metavar="N,N,...")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = options.keep or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        if options.sqlite:
            asyncio.run(compare_sqlite(directory, options.sqlite, options.rounds))
        if options.dynamodb:
            emulator = Emulator(Path(scratch))
            try:
                asyncio.run(compare_dynamodb(emulator, options.dynamodb))
            finally:
                emulator.stop()


if __name__ == "__main__":
    main()
