"""CPU of a cold start: a fresh process that imports the handler, builds everything and answers its first request.

    bash scripts/bench.sh cold-start [--runs 15]

The request is `GET /images?user_id=...` with 20 images, against the AWS emulator. Compared with (a) a process that does
no more than make boto3's clients for S3 and DynamoDB, and (b) the same four routes in FastAPI, Mangum and boto3
(bench/peers/fastapi_images.py), which have the same images. User and system time of the whole process, its start
included; the contestants take turns, and figures are medians.
"""

import argparse
import statistics
from collections import defaultdict

from bench.lambda_home import CLIENTS, FASTAPI, OURS, event, lambda_home
from tests.support.pictures import picture

IMAGES = 20
LABELS = {OURS: "ours", CLIENTS: "(a) boto3's clients alone", FASTAPI: "(b) FastAPI + Mangum + boto3"}
LIST = event("GET", "/images?user_id=ann")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    files = {"file": ("a.jpg", picture("jpeg", 640, 480), "image/jpeg")}
    upload = event("POST", "/images", files=files, data={"user_id": "ann", "tags": "a,b"})
    with lambda_home() as home:
        for name in (OURS, FASTAPI):
            home.run(name, [upload], rounds=IMAGES - 1)
        seconds = defaultdict(list)
        for _ in range(runs):
            for name in (OURS, CLIENTS, FASTAPI):
                seconds[name].append(home.run(name, [LIST]).first)
    print(f"CPU ms until the first answer, median (least to most) of {runs} runs by turns")
    for name, label in LABELS.items():
        values = [1000 * value for value in seconds[name]]
        spread = f"{statistics.median(values):6.0f} ({min(values):.0f} to {max(values):.0f})"
        ratio = statistics.median(seconds[OURS]) / statistics.median(seconds[name])
        print(f"{label:30} {spread}  ours is {ratio:.2f} of it")


if __name__ == "__main__":
    main()
