"""A process that does what a Lambda function's does, and tells what CPU it took: user and system, of all threads.

    python -m bench.lambda_process CONTESTANT < TASK

The task is JSON: `events`, and how often all of them are answered, unmeasured and then measured, in `rounds`. Printed
are the seconds from the start of the process to the first answer, and those for each answer in every round.
"""

import json
import sys
import time
from typing import Any

# Where each handler is; who has none makes clients and answers nothing.
HANDLERS = {
    "ours": "src.handlers.image_handler",
    "fastapi": "bench.peers.fastapi_images",
    "clients": None,
}


class Context:
    """What Lambda says of an invocation, as far as anybody asks."""

    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


def main() -> None:
    task = json.load(sys.stdin)
    module = HANDLERS[sys.argv[1]]
    if module is None:
        import boto3

        boto3.client("s3")
        boto3.client("dynamodb")
        print(json.dumps({"first": time.process_time(), "rounds": []}))
        return
    __import__(module)
    handler = sys.modules[module].lambda_handler
    answer(handler, task["events"][0])
    first = time.process_time()
    rounds = []
    for number in range(task["rounds"]):
        before = time.process_time()
        for event in task["events"]:
            answer(handler, event)
        if number:  # the first one warms it up
            rounds.append((time.process_time() - before) / len(task["events"]))
    print(json.dumps({"first": first, "rounds": rounds}))


def answer(handler: Any, event: dict[str, Any]) -> None:
    response = handler(event, Context())
    if response["statusCode"] not in (200, 201):
        raise SystemExit(f"{response['statusCode']}: {response.get('body')}")


if __name__ == "__main__":
    main()
