"""CPU of a warm invocation, inside the handler's process: a list of 20 images, and an upload of 64 KB.

    bash scripts/bench.sh lambda-warm [--runs 9] [--rounds 5]

Against the same four routes in FastAPI, Mangum and boto3 (bench/peers/fastapi_images.py), on the AWS emulator, with the
same events of API Gateway and the same images. User and system time of all threads; the contestants take turns in new
processes, in each of which all events are answered several times; figures are medians. The other one stores what it
is sent: it neither decodes the picture nor makes a placeholder, and keeps no lists by tag and no counts. What the
picture takes is measured by itself.
"""

import argparse
import statistics
import time
from collections import defaultdict

from bench.lambda_home import FASTAPI, OURS, event, lambda_home
from src.common.payload import Payload
from src.imaging.inspect import Inspector
from tests.support.pictures import noise

IMAGES = 20
LISTS = 100
UPLOADS = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    data = noise(360, 270, "jpeg", quality=85)
    tasks = {
        "list of 20": [event("GET", "/images?user_id=ann")] * LISTS,
        f"upload of {len(data) / 1000:.0f} kB": [_upload(data, "bob")] * UPLOADS,
    }
    milliseconds = defaultdict(list)
    with lambda_home() as home:
        for name in (OURS, FASTAPI):
            home.run(name, [_upload(data, "ann")], rounds=IMAGES - 1)
        for _ in range(options.runs):
            for task, events in tasks.items():
                for name in (OURS, FASTAPI):
                    rounds = home.run(name, events, rounds=options.rounds + 1).rounds
                    milliseconds[task, name].append(1000 * statistics.median(rounds))
    print(f"CPU ms for each, median (least to most) of {options.runs} runs by turns")
    print(f"{'':16} {'ours':>20} {'FastAPI + boto3':>20}  ours is")
    for task in tasks:
        columns = [milliseconds[task, name] for name in (OURS, FASTAPI)]
        ours, other = map(statistics.median, columns)
        spreads = [f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in columns]
        print(f"{task:16} {spreads[0]:>20} {spreads[1]:>20}  {ours / other:.2f} of it")
    print(f"of the upload, to verify and measure the picture takes {_inspection(data):.2f}")


def _upload(data: bytes, user_id: str) -> dict[str, object]:
    files = {"file": ("a walk.jpg", data, "image/jpeg")}
    return event("POST", "/images", files=files, data={"user_id": user_id, "tags": "garden,cat"})


def _inspection(data: bytes, rounds: int = 200) -> float:
    """Return the CPU milliseconds of looking at one picture."""
    inspector = Inspector(max_pixels=50_000_000)
    taken = []
    for _ in range(rounds):
        before = time.process_time()
        inspector.inspect(Payload.of(data))
        taken.append(1000 * (time.process_time() - before))
    return statistics.median(taken)


if __name__ == "__main__":
    main()
