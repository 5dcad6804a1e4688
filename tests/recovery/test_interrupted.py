"""A backfill that is killed goes on at the page it had come to: none is skipped or read twice."""

import _thread
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import loader as loader_module
from tests.support.builders import item
from tests.support.processes import interruptible
from tests.support.world import FENCE_TTL, MARGIN, MakeWorld, World

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.recovery.backfill import Backfill, BackfillProgress
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.recovery.rebuild_state import RebuildState, Run

_ITEMS = 1300
_PAGE = 20
_KILLS = 10


class Loader:
    """The process that is killed; see loader.py."""

    def __init__(self, *arguments: str) -> None:
        script = str(Path(loader_module.__file__))
        self._process = subprocess.Popen(
            [sys.executable, script, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self) -> int:
        """Begin or resume, and return the id of the process to kill."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self.line()["pid"])

    def line(self) -> dict[str, Any]:
        """Return its next report."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "it has ended"
        report: dict[str, Any] = json.loads(line)
        return report

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)


def newest(world: World) -> Run:
    run = world.rebuild().run()
    assert run is not None
    return run


@pytest.mark.parametrize("seed", [1])
def test_a_backfill_killed_ten_times_reads_every_item_once(
    seed: int, make_world: MakeWorld, dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey
) -> None:
    rng = random.Random(seed)
    ids = [f"i{number}" for number in range(_ITEMS)]
    world = make_world()
    world.puts(item(one, n={"N": "0"}) for one in ids)
    delivery = world.follow()
    loader = Loader(dynamodb.endpoint_url, str(valkey.port), world.table, str(_PAGE))
    # Changes only: so that the items can be counted.
    with world.written_to(world.counted(seed, ids)):
        world.begun(world.rebuild())
        run = newest(world)
        for kill in range(_KILLS):
            saved = RebuildState(world.cache, world.table).progress(run).items
            pid = loader.go()
            pages = [loader.line()["items"] for _ in range(rng.randint(1, 4))]
            assert pages[0] == saved + _PAGE, f"seed {seed}, kill {kill}: not resumed there"
            assert pages == list(range(pages[0], pages[-1] + 1, _PAGE))
            os.kill(pid, signal.SIGKILL)
            while "ended" not in (last := loader.line()):
                pass  # it was faster than the signal
            assert last["ended"] == signal.SIGKILL, f"seed {seed}, kill {kill}"
        assert not RebuildState(world.cache, world.table).progress(run).done
        loader.go()
        while "ended" not in (last := loader.line()):
            pass
        assert last["ended"] == 0
        assert newest(world) == run
        progress = RebuildState(world.cache, world.table).progress(run)
        assert (progress.done, progress.items) == (True, _ITEMS)
        steps = world.rebuild()
        steps.sweep(run)
        steps.finish(run)
        assert world.marker.is_complete
    loader.close()
    world.caught_up(delivery)
    assert world.compare().differences == 0


class Interrupted(Cache):
    """A cache that is lost in the middle: before or after the given exchange with it."""

    after = False
    left = 0

    def execute(self, commands: Iterable[Command]) -> list[Any]:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise CacheError("lost")
        answers = super().execute(commands)
        if self.left == 0:
            raise CacheError("lost")
        return answers


@pytest.fixture(params=[False, True], ids=["before", "after"])
def interrupted(request: pytest.FixtureRequest, valkey: EmbeddedValkey) -> Iterator[Interrupted]:
    """Whether what was under way is done or not."""
    cache = Interrupted(valkey.settings())
    cache.after = request.param
    yield cache
    cache.close()


def test_wherever_it_is_interrupted_no_page_is_skipped_or_counted_twice(
    make_world: MakeWorld, interrupted: Interrupted
) -> None:
    items = [item(str(number), name=f"name {number}") for number in range(24)]
    world = make_world()
    world.puts(items)  # nobody delivers: all that comes is from rows
    run = world.begun(world.rebuild())
    steps = Rebuild(
        interrupted,
        world.views,
        world.client,
        fence_ttl=FENCE_TTL,
        stream_arn=world.arn,
        margin=MARGIN,
        limit=2,
    )
    for attempt in range(1, 200):
        interrupted.left = attempt % 12 + 1  # any place within a page, on any page
        try:
            progress = steps.load(run, 0)
        except CacheError:
            continue
        break
    assert attempt > 10
    assert (progress.done, progress.items) == (True, len(items))
    interrupted.left = 0
    steps.sweep(run)
    steps.finish(run)
    assert world.compare().differences == 0


def test_a_backfill_ends_by_a_signal_that_another_thread_took(make_world: MakeWorld) -> None:
    """As it does when it comes to a paused process."""
    world = make_world()
    world.puts(item(str(number)) for number in range(60))
    steps, loading = world.rebuild(limit=1), threading.Event()
    world.begun(steps, segments=3)

    def interrupt() -> None:
        loading.wait()
        _thread.interrupt_main()

    def record(now: BackfillProgress) -> None:
        if now.phase == "loading":
            loading.set()
            seen.append(now.progress.items)

    seen: list[int] = []
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt), interruptible():
        Backfill(steps, rate=10, on_progress=record).run()
    interrupting.join()
    assert 0 < seen[-1] < 60
    done = Backfill(steps).run()
    assert done is not None
    assert (done.progress.done, done.progress.items) == (True, 60)
