"""The packaged handler, driven as drive.cjs drives the original's: `python drive.py TASK EVENTS`.

Each line of standard input is a number of records and a number of records a batch. The answer is
one line of seconds, and of CPU seconds of this process. What the function logs goes to /dev/null.
"""

import json
import os
import sys
import time
from itertools import count
from typing import Any

answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sys.path[0:0] = [sys.argv[1]]

from dynamirror.handler import handler  # noqa: E402 - the path comes first


class Context:
    """A Lambda context with time enough."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the invocation is ended."""
        return 60_000


def main() -> None:
    """Answer each line."""
    with open(sys.argv[2], encoding="utf-8") as file:  # noqa: PTH123 - imports nothing
        texts = [json.dumps(record) for record in json.load(file)["Records"]]
    numbers = count(1)

    def handle(records: int, batch: int) -> tuple[float, float]:
        seconds = cpu = 0.0
        for first in range(0, records, batch):
            event: dict[str, Any] = {
                "Records": [json.loads(text) for text in texts[first : first + batch]]
            }
            for record in event["Records"]:
                record["dynamodb"]["SequenceNumber"] = f"{next(numbers):021d}"
            begin, begin_cpu = time.perf_counter(), time.process_time()
            response = handler(event, Context())
            cpu += time.process_time() - begin_cpu
            seconds += time.perf_counter() - begin
            if response["batchItemFailures"]:
                sys.exit("the cache did not take a batch")
        return seconds, cpu

    handle(1, 1)  # connects
    for line in sys.stdin:
        records, batch = map(int, line.split())
        seconds, cpu = handle(records, batch)
        print(json.dumps({"seconds": seconds, "cpu": cpu}), file=answers, flush=True)


main()
