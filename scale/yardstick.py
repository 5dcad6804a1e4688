"""What a fixed piece of work takes meanwhile: a machine is not as fast at each time."""

from functools import cache
from random import Random
from statistics import fmean
from time import thread_time
from typing import Final, Self

import msgspec

from dynamirror.stoppable_thread import StoppableThread

_PAUSE_SECONDS: Final = 1.0
_ITEMS: Final = 200_000
_LOOK_UPS: Final = 8_000


class Yardstick(StoppableThread):
    """Times the same piece of work again and again inside `with`, at less than 1% of the time.

    Other programs on the machine, and its own clock, change the CPU time that any work takes. So
    that of a job is compared as a multiple of this one's. Like a job, it decodes, and touches more
    memory than caches of a processor hold.
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys, self._table, self._text = _material()
        self._timed: list[float] = []

    @property
    def seconds(self) -> float:
        """Return the mean CPU time of one piece of work."""
        return fmean(self._timed)

    def __enter__(self) -> Self:
        self._time()
        return super().__enter__()

    def run(self) -> None:
        """Time until stopped."""
        while not self._halt.wait(_PAUSE_SECONDS):
            self._time()

    def _time(self) -> None:
        begun = thread_time()
        for item in msgspec.json.decode(self._text):
            self._table[item["key"]] += item["value"]
        self._timed.append(thread_time() - begun)


@cache
def _material() -> tuple[list[str], dict[str, int], bytes]:
    """Return the keys to look up, what holds them, whose numbers only grow, and the text."""
    rng = Random(1)
    keys = [f"item:{number}" for number in rng.sample(range(_ITEMS), _LOOK_UPS)]
    table = {f"item:{number}": number for number in range(_ITEMS)}
    return keys, table, msgspec.json.encode([{"key": key, "value": 1} for key in keys])
