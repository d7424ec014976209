"""Compare the embedded server with PocketBase: the same pictures and metadata, the same requests, over HTTP.

    bash scripts/bench.sh server [--images 100000] [--rounds 5] [--seconds 2] [--tasks "list by user,upload"]

Both as they start by default, but for the number of processes: `one` is one process on one core (ours with WORKERS=1,
PocketBase with GOMAXPROCS=1), clients on the others; `two` is two processes (WORKERS=2; PocketBase is always one
process, with GOMAXPROCS=2) on two cores, which they share with the clients where there are no others. Clients are wrk,
or this process for what takes more than a GET and where there is no wrk; each is on a connection that it keeps.

A picture has a user, a description and three tags. Lists are of 20, the newest first, of a user or a tag at random, as
are the pictures. PocketBase is asked in the ways that are quickest for it: with indexes, without counting (skipTotal),
and by tag through a collection with a row for each tag of each picture, which is expanded; the other way, a filter on
the relation in the picture, has a row of its own. Its uploads write no such rows. Originals and thumbnails are asked
for by the links that each hands out; with ours a thumbnail's link may also be a redirect, which has a row of its own.

An upload is 67 kB of JPEG as a form, none twice. PocketBase's makes the picture's record and those of its tags, as the
lists need them, in one request (its batch API); without them, which leaves the filter as the only way to list by tag,
it has a row of its own. Ours is verified, gets a placeholder, and is synced to the disk; PocketBase does none of that.
Upload and thumbnail is an upload, and then the thumbnail of it, 320 pixels wide, JPEG, made for the request; its times
are of both. CPU is the server's, for each answer. The contestants take turns; figures are medians of the rounds.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
import timeit
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, product
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from bench import pocketbase
from bench.load import Connection, Load, expect, gets, works
from bench.renditions import cpu_of, photo
from src.common.payload import Payload
from src.imaging import inspect
from src.imaging.inspect import Inspector
from src.models.image import Image, original_key
from tests.support.images import MILLISECOND, NOON, id_at, make_image
from tests.support.server import Server
from tests.support.sqlite import seed

USERS = 1_000
TAGS = 500
LOOKED_AT = 1_000  # pictures whose bytes are asked for
CONNECTIONS = (8, 64)
USER = "user007"
TAGGED = ("tag001", "tag002", "tag003")
DESCRIPTION = "On the way to the lake."
BOUNDARY = "boundary-of-the-bench"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
OURS, PEER = "ours", "PocketBase"
WORKS = {  # by the methods that do them
    "upload": "upload",
    "upload without rows": "upload_without_rows",
    "upload and thumbnail": "upload_and_thumbnail",
}


class Picture:
    """A JPEG of which each copy has other bytes: a comment with a number in it."""

    def __init__(self) -> None:
        data = photo(800, 600, quality=85)
        self._before, self._after = data[:2] + b"\xff\xfe\x00\x12", data[2:]
        self._numbers = count()
        self.size = len(self.copy())

    def copy(self) -> bytes:
        return self._before + f"{next(self._numbers):016}".encode() + self._after


def images(number: int, size: int) -> list[Image]:
    """Return records of pictures, with users and tags at random."""
    chance = Random(1)  # noqa: S311 - no secret
    names = [f"tag{each:03}" for each in range(TAGS)]
    return [
        make_image(
            image_id=id_at(NOON + 50 * index * MILLISECOND),
            user_id=f"user{chance.randrange(USERS):03}",
            filename=pocketbase.FILENAME,
            description=DESCRIPTION,
            tags=tuple(sorted(chance.sample(names, 3))),
            size=size,
            width=800,
            height=600,
        )
        for index in range(number)
    ]


def form(fields: Sequence[tuple[str, str]], data: bytes, name: str = "file") -> bytes:
    """Write a multipart form with a picture as the part of this name."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    head = f'Content-Disposition: form-data; name="{name}"; filename="picture.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return f"{''.join(parts)}--{BOUNDARY}\r\n{head}".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


class Ours:
    """The embedded server over records that were written beside it."""

    name = OURS

    def __init__(self, directory: Path, records: Sequence[Image], picture: Picture) -> None:
        self._data_dir = directory / "ours"
        self._records = records
        self._picture = picture
        file = directory / "picture.jpg"
        with Server(self._data_dir) as server:
            server.stop()
        seed(self._data_dir / "images.sqlite3", *records)
        for number, image in enumerate(records):
            path = self._data_dir / "objects" / original_key(image.image_id, image.content_type)
            path.parent.mkdir(parents=True, exist_ok=True)
            pocketbase.link(file, path, number)

    @contextmanager
    def started(self, processes: int) -> Iterator[None]:
        with Server(self._data_dir, environment={"WORKERS": str(processes)}) as self._server:
            self.address = urlsplit(self._server.url).netloc
            yield

    @property
    def pids(self) -> list[int]:
        return [self._server.process.pid, *self._server.workers()]

    def targets(self) -> dict[str, list[str]]:
        some = [image.image_id for image in self._records[:: len(self._records) // LOOKED_AT]]
        links = {
            what: [self._path(f"/images/{image_id}{query}") for image_id in some]
            for what, query in (("original", ""), ("thumbnail", "?width=320&format=jpeg"))
        }
        return {
            "list by user": [f"/images?user_id={user}" for user in sorted({each.user_id for each in self._records})],
            "list by tag": [f"/images?tags={tag}" for tag in sorted({each.tags[0] for each in self._records})],
            "one image": [f"/images/{image.image_id}" for image in self._records],
            **links,
            "redirect to a thumbnail": [f"/images/{image_id}/content?width=320&format=jpeg" for image_id in some],
        }

    def _path(self, target: str) -> str:
        """Return the path of the link in an image's record."""
        url: str = self._server.http.get(target).raise_for_status().json()["url"]
        return url.removeprefix(self._server.url)

    async def upload(self, connection: Connection) -> Any:
        fields = [("user_id", USER), ("tags", ",".join(TAGGED)), ("description", DESCRIPTION)]
        body = form(fields, self._picture.copy())
        return json.loads(expect(await connection.ask("/images", body=body, content_type=FORM), 201))

    upload_without_rows = upload

    async def upload_and_thumbnail(self, connection: Connection) -> None:
        image_id = (await self.upload(connection))["image_id"]
        status, headers, body = await connection.ask(f"/images/{image_id}/content?width=320&format=jpeg")
        if status != 302:
            raise SystemExit(f"{status}: {body!r}")
        expect(await connection.ask(headers["location"].removeprefix(self._server.url)), 200)


class Peer:
    """PocketBase over the same."""

    name = PEER

    def __init__(self, directory: Path, records: Sequence[Image], picture: Picture) -> None:
        self._directory = directory / "pocketbase"
        self._records = records
        self._picture = picture
        self._numbers = count()
        pocketbase.make(self._directory, records, directory / "picture.jpg")

    @contextmanager
    def started(self, processes: int) -> Iterator[None]:
        with pocketbase.PocketBase(self._directory, GOMAXPROCS=str(processes)) as self._server:
            self.address = self._server.address
            yield

    @property
    def pids(self) -> list[int]:
        return [self._server.process.pid]

    def targets(self) -> dict[str, list[str]]:
        users = sorted({each.user_id for each in self._records})
        tags = sorted({each.tags[0] for each in self._records})
        some = [pocketbase.record_id(n) for n in range(0, len(self._records), len(self._records) // LOOKED_AT)]
        files = [f"/api/files/images/{record_id}/{pocketbase.FILENAME}" for record_id in some]
        thumbnails = [f"{file}?thumb={pocketbase.THUMBNAIL}" for file in files]
        for target in thumbnails:
            self._server.http.get(target).raise_for_status()
        return {
            "list by user": [_page("images", f"user='{user}'") for user in users],
            "list by tag": [_page("image_tags", f"tag='{tag}'", expand="image") for tag in tags],
            "list by tag, filtered": [_page("images", f"tags.name?='{tag}'") for tag in tags],
            "one image": [
                f"/api/collections/images/records/{pocketbase.record_id(n)}" for n in range(len(self._records))
            ],
            "original": files,
            "thumbnail": thumbnails,
        }

    async def upload(self, connection: Connection) -> Any:
        record_id = f"u{next(self._numbers):014}"
        fields = {"id": record_id, "user": USER, "tags": [pocketbase.tag_id(tag) for tag in TAGGED]}
        requests = [_creation("images", **fields, description=DESCRIPTION)]
        requests += [_creation("image_tags", image=record_id, tag=tag) for tag in TAGGED]
        body = form([("@jsonPayload", json.dumps({"requests": requests}))], self._picture.copy(), "requests.0.file")
        return json.loads(expect(await connection.ask("/api/batch", body=body, content_type=FORM), 200))[0]["body"]

    async def upload_without_rows(self, connection: Connection) -> None:
        tags = [("tags", pocketbase.tag_id(tag)) for tag in TAGGED]
        body = form([("user", USER), *tags, ("description", DESCRIPTION)], self._picture.copy())
        expect(await connection.ask("/api/collections/images/records", body=body, content_type=FORM), 200)

    async def upload_and_thumbnail(self, connection: Connection) -> None:
        record = await self.upload(connection)
        path = f"/api/files/images/{record['id']}/{record['file']}?thumb={pocketbase.THUMBNAIL}"
        expect(await connection.ask(path), 200)


def _creation(collection: str, **fields: object) -> dict[str, object]:
    return {"method": "POST", "url": f"/api/collections/{collection}/records", "body": fields}


def _page(collection: str, condition: str, **others: str) -> str:
    query = {"perPage": "20", "sort": "-created", "skipTotal": "1", "filter": condition, **others}
    return f"/api/collections/{collection}/records?" + "&".join(f"{k}={quote(v)}" for k, v in query.items())


class Cores(NamedTuple):
    """Which cores the server's processes and the clients run on."""

    server: set[int]
    clients: set[int]

    @classmethod
    def of(cls, processes: int) -> "Cores":
        every = sorted(os.sched_getaffinity(0))
        if len(every) < 2:
            raise SystemExit("This takes two cores.")
        return cls(set(every[:processes]), set(every[processes:]) or set(every))


def compare(contestants: Sequence[Ours | Peer], processes: int, options: argparse.Namespace) -> None:
    """Print a table of what each does in so many processes."""
    cores = Cores.of(processes)
    everywhere = os.sched_getaffinity(0)
    with ExitStack() as stack:
        os.sched_setaffinity(0, cores.server)  # the servers inherit it
        for contestant in contestants:
            stack.enter_context(contestant.started(processes))
        os.sched_setaffinity(0, cores.clients)
        stack.callback(os.sched_setaffinity, 0, everywhere)
        head = f"{'two processes' if processes > 1 else 'one process':24}{'clients':>8}"
        heads = f"{OURS:>9}{PEER:>12}{'ratio':>7}"
        print(f"\n{'':32}{'answers/s':>21}{'p99 ms':>28}{'CPU ms':>28}\n{head}{heads * 3}")
        targets = {contestant.name: contestant.targets() for contestant in contestants}
        tasks = [*dict.fromkeys(task for each in targets.values() for task in each), *WORKS]
        for task, connections in product(options.tasks.split(",") if options.tasks else tasks, CONNECTIONS):
            found: dict[str, list[Figures]] = defaultdict(list)
            for turn in range(options.rounds + 1):
                for contestant in contestants if turn % 2 else reversed(contestants):
                    os.sync()  # what the other has only written would be waited for with what this one syncs
                    before = cpu_of(contestant.pids)
                    paths = targets[contestant.name].get(task)
                    load = _load(contestant, task, paths, connections, options.seconds, turn)
                    spent = 1000 * (cpu_of(contestant.pids) - before)
                    if load and turn:  # the first one warms up
                        found[contestant.name].append(Figures(load.rate, load.p99, spent / load.answers))
            print(_row(task, connections, found), flush=True)
        for contestant in contestants:
            print(f"{contestant.name}: {sum(map(_rss, contestant.pids)) / 1e6:.0f} MB resident at the end")


def _load(
    contestant: Ours | Peer, task: str, targets: list[str] | None, connections: int, seconds: float, seed: int
) -> Load | None:
    if targets:
        return gets(contestant.address, targets, connections=connections, seconds=seconds, seed=seed)
    if work := getattr(contestant, WORKS.get(task, ""), None):
        return works(contestant.address, work, connections=connections, seconds=seconds)
    return None


class Figures(NamedTuple):
    """Of one contestant in one round."""

    rate: float  # answers a second
    p99: float  # milliseconds
    cpu: float  # milliseconds for each answer, of all of the server's processes


def _row(task: str, connections: int, found: dict[str, list[Figures]]) -> str:
    nothing = [Figures(math.nan, math.nan, math.nan)]
    ours, peer = (
        Figures(*(statistics.median(values) for values in zip(*found.get(name, nothing), strict=True)))
        for name in (OURS, PEER)
    )
    cells = "".join(
        f"{one:>9.{places}f}{other:>12.{places}f}{one / other:>7.2f}"
        for one, other, places in zip(ours, peer, (0, 2, 2), strict=True)
    )
    return f"{task:24}{connections:>8}{cells}".replace("nan", "  -")


def verification(data: bytes) -> str:
    """Say how many milliseconds of CPU one upload takes for what PocketBase does not do."""
    payload = Payload.of(data)
    inspector = Inspector(max_pixels=50_000_000)
    header = inspect._read_header("jpeg", payload)
    small = inspect._miniature(inspect._first_frame(header, payload))
    steps: dict[str, Callable[[], object]] = {
        "all": lambda: inspector.inspect(payload),
        "decoding": lambda: inspect._first_frame(header, payload).copy_memory(),
        "placeholder": lambda: inspect._data_uri(small),
        "colour": lambda: inspect._dominant_color(small),
    }
    taken = {
        name: min(timeit.repeat(step, number=50, repeat=9, timer=time.process_time)) * 20
        for name, step in steps.items()
    }
    return (
        f"verification, colour and placeholder of an upload take {taken['all']:.2f} ms of CPU, of which decoding "
        f"{taken['decoding']:.2f}, the placeholder {taken['placeholder']:.2f} and the colour {taken['colour']:.2f}"
    )


def _rss(pid: int) -> int:
    """Return the resident memory of a process in bytes; what it shares with others is counted by its part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--tasks")
    parser.add_argument("--processes", type=int, choices=(1, 2))
    options = parser.parse_args()
    picture = Picture()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        (directory / "picture.jpg").write_bytes(picture.copy())
        records = images(options.images, picture.size)
        print(f"{options.images:,} pictures of {picture.size:,} bytes")
        print(verification(picture.copy()))
        contestants = [kind(directory, records, picture) for kind in (Ours, Peer)]
        for processes in (1, 2):
            if options.processes in (None, processes):
                compare(contestants, processes, options)


if __name__ == "__main__":
    main()
