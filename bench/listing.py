"""Time pages of 20 among few and among many images, in both homes; count what they cost in DynamoDB.

    bash scripts/bench.sh listing [--sqlite 1000,100000,1000000] [--dynamodb 1000,20000] [--rounds 300] [--keep PLACE]

The databases of one home are asked by turns, round by round, so that what the machine does besides meets all alike.
Each row ends with the median of the largest size over that of the smallest. With `--keep` the SQLite databases are made
once.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from src.common.ids import first_id_at
from src.models.image import Image
from src.models.page import ImageQuery
from src.repositories.dynamodb_images import DynamoDbImageRepository
from src.repositories.ports import ImageRepository
from src.repositories.sqlite_images import SqliteImageRepository, _insert
from tests.support.emulator import Emulator
from tests.support.images import MILLISECOND, NOON, make_image, numbered_id

from .costs import PLACEHOLDER, CountingTable

USERS = 20
TAGS = 12
EVERY = 50  # milliseconds between two images
WARM_UP = 30  # rounds
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
    moment = NOON + chance.randrange(number // 4, number * 3 // 4) * EVERY * MILLISECOND
    anywhere = first_id_at(moment)
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


def fill(path: Path, number: int) -> None:
    """Write what uploads write, in one transaction."""
    repository = SqliteImageRepository(path)
    asyncio.run(repository.close())
    with closing(repository._connect()) as connection:
        connection.execute("BEGIN")
        for image in images(number):
            _insert(connection, image)
        connection.execute("COMMIT")


async def fill_table(repository: DynamoDbImageRepository, number: int) -> None:
    for image in images(number):
        await repository.add(image)


async def measure(repositories: dict[int, ImageRepository], rounds: int) -> None:
    """Print, for each kind and size, the median and the 99th percentile of a page's time in milliseconds."""
    chance = random.Random(1)  # noqa: S311 - no secret
    times: dict[str, dict[int, list[float]]] = {}
    for turn in range(WARM_UP + rounds):
        for number, repository in repositories.items():
            for kind, query in queries(number, chance).items():
                started = time.perf_counter()
                page = await repository.list(query)
                passed = time.perf_counter() - started
                if not page.images:
                    raise AssertionError(f"{kind}: an empty page")
                if turn >= WARM_UP:
                    times.setdefault(kind, {}).setdefault(number, []).append(passed * 1000)
    head = "".join(f"{f'{number:,}':>18}" for number in repositories)
    print(f"{'p50 and p99 in ms, of images:':30}{head}{'ratio':>8}")
    for kind, by_number in times.items():
        medians = {number: statistics.median(values) for number, values in by_number.items()}
        cells = "".join(
            f"{medians[number]:10.3f}{statistics.quantiles(values, n=100)[98]:8.3f}"
            for number, values in by_number.items()
        )
        print(f"{kind:30}{cells}{medians[max(medians)] / medians[min(medians)]:8.2f}")


async def compare_sqlite(directory: Path, numbers: list[int], rounds: int) -> None:
    repositories: dict[int, ImageRepository] = {}
    for number in numbers:
        path = directory / f"{number}.sqlite3"
        if not path.exists():
            started = time.perf_counter()
            await asyncio.to_thread(fill, path, number)
            passed, size = time.perf_counter() - started, path.stat().st_size / 2**20
            print(f"{number:,} images made in {passed:.1f} s, {size:.0f} MiB")
        repositories[number] = SqliteImageRepository(path)
    print("\nSQLite")
    await measure(repositories, rounds)
    for repository in repositories.values():
        await repository.close()


async def compare_dynamodb(emulator: Emulator, numbers: list[int]) -> None:
    """Count units: the emulator's time says nothing about DynamoDB's."""
    print("\nDynamoDB: units that are read for a page of 20, and written for an upload, of images:")
    units: dict[str, list[float]] = {}
    for number in numbers:
        table = CountingTable(emulator.client("dynamodb"), emulator.new_table())
        repository = DynamoDbImageRepository(table)
        await fill_table(repository, number)
        units.setdefault("upload with 3 tags (written)", []).append(table.units / number)
        chance = random.Random(1)  # noqa: S311 - no secret
        for kind in queries(number, chance):
            table.units, rounds = 0.0, 20
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
