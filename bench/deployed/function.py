"""The packaged function in a process of its own, as Lambda's runtime runs it.

`python -I -S -B function.py TASK EVENT...`: imports the handler from the unpacked asset TASK and
Python's own modules alone, has it handle each file of an event, and says for each, on a line of its
own, `handled`, its resident memory before and the most so far, in KiB. The work of Lambda's runtime
client is left out.
"""

import sys

sys.path[0:0] = [sys.argv[1]]

from dynamirror.handler import handler  # noqa: E402 - the path comes first


class Plenty:
    """A Lambda context with time enough."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return 60_000


def resident() -> tuple[int, int]:
    """Resident memory now and at most, in KiB; 0 where there is no /proc.

    getrusage would count what the process that started this one had: ru_maxrss outlives exec.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - imports nothing
            lines = dict(line.split(":", 1) for line in file)
    except OSError:
        return 0, 0
    return int(lines["VmRSS"].split()[0]), int(lines["VmHWM"].split()[0])


def main() -> None:
    """Handle each event."""
    import json  # noqa: PLC0415 - as the runtime has it

    for path in sys.argv[2:]:
        before, _ = resident()
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - imports nothing
            event = json.loads(file.read())
        if handler(event, Plenty())["batchItemFailures"]:
            sys.exit("the cache did not take the batch")
        print("handled", before, resident()[1], flush=True)


main()
