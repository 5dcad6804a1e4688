"""Runs sandboxes as Lambda does: each for one invocation at a time, which has a limit."""

import multiprocessing
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, LifoQueue
from random import Random
from time import perf_counter
from typing import Any, Self

import msgspec

from scale.messages import Answer, Request, Setup, Used
from scale.sandbox import main
from scale.table import Edits

# Names of the errors of a sandbox that ended, or was ended because it took too long.
ENDINGS = ("Lambda.Unknown", "Sandbox.Timedout")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["scale.sandbox"])


class TaskError(Exception):
    """An invocation failed.

    Args:
        name: name of the error, as the state machine sees it.
        cause: its text.
    """

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"{name}: {cause}")
        self.name = name
        self.cause = cause


class Counts(msgspec.Struct):
    """What the invocations of a job came to.

    Args:
        invocations: how many there were.
        seconds: how long they took, together.
        kills: how many were ended between two commands.
        timeouts: how many took longer than they may.
        errors: how many raised an error.
        used: what they used.
    """

    invocations: int = 0
    seconds: float = 0.0
    kills: int = 0
    timeouts: int = 0
    errors: int = 0
    used: Used = Used()


class Sandboxes:
    """Processes that invoke the functions, started when they are needed.

    Args:
        environment: environment variables of the functions.
        items: number of the table's items.
        seed: seed of the table and of the kills.
        seconds: limit of an invocation in seconds.
        grace: seconds after the limit until the sandbox is ended.
        kill_every: mean number of commands to the cache between two kills; None for no kills.
        log: receives what the functions print.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        items: int,
        seed: int,
        seconds: float,
        grace: float,
        kill_every: int | None,
        log: Path,
    ) -> None:
        self._environment = environment
        self._items = items
        self._seed = seed
        self._seconds = seconds
        self._grace = grace
        self._kill_every = kill_every
        self.kills = True
        self._log = log
        self._random = Random(seed)
        self._idle: LifoQueue[_Process] = LifoQueue()
        self._lock = threading.Lock()
        self.counts = Counts()
        self.edits = Edits()
        self.ahead = 0.0

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function, and return its answer.

        Raises:
            TaskError: it raised an error, took too long, or its sandbox ended.
        """
        process = self._take()
        request = Request(function, event, self._seconds, self.ahead, self.edits)
        before, begun = process.used, perf_counter()
        answer, is_late = process.ask(request, self._seconds + self._grace)
        with self._lock:
            counts = self.counts
            counts.invocations += 1
            counts.seconds += perf_counter() - begun
            if answer is not None:
                process.used = answer.used
                counts.used = counts.used.plus(answer.used.minus(before))
            has_ended = answer is None or (answer.value is msgspec.UNSET and not answer.error)
            counts.timeouts += is_late
            counts.kills += has_ended and not is_late
            counts.errors += bool(answer and answer.error)
        if has_ended:
            process.close()
            if is_late:
                raise TaskError(ENDINGS[1], f"took more than {self._seconds} s")
            if answer is None:
                raise RuntimeError(f"a sandbox ended by itself; see {self._log}")
            raise TaskError(ENDINGS[0], "the sandbox ended")
        self._idle.put(process)
        assert answer is not None
        if answer.error:
            raise TaskError(answer.error, answer.message)
        return answer.value

    def take_counts(self) -> Counts:
        """Return what was counted since the last call."""
        with self._lock:
            counts, self.counts = self.counts, Counts()
        return counts

    def end_all(self) -> None:
        """End the sandboxes that wait, so that the next invocations begin in new ones."""
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()

    def close(self) -> None:
        """End all sandboxes."""
        self.end_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _take(self) -> "_Process":
        with suppress(Empty):
            return self._idle.get_nowait()
        with self._lock:
            last = None
            if self._kill_every and self.kills:
                last = round(self._kill_every * self._random.uniform(0.5, 1.5))
            setup = Setup(self._items, self._seed, last)
        return _Process(self._environment, setup, self._log)


class _Process:
    """One sandbox."""

    def __init__(self, environment: Mapping[str, str], setup: Setup, log: Path) -> None:
        self.used = Used()
        self._pipe, pipe = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=main, args=(setup, environment, pipe, log))
        self._process.start()
        pipe.close()

    def ask(self, request: Request, seconds: float) -> tuple[Answer | None, bool]:
        """Return the answer, or None if the process ended; and whether it took too long."""
        self._pipe.send_bytes(msgspec.json.encode(request))
        if not self._pipe.poll(seconds):
            return None, True
        try:
            return msgspec.json.decode(self._pipe.recv_bytes(), type=Answer), False
        except (EOFError, ConnectionError):
            return None, False

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()
