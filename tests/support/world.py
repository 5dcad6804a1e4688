"""A table that is written to all the time, its mirror, and the steps that make it whole again."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from time import monotonic, sleep, time
from typing import Any, Protocol
from uuid import uuid4

from tests.support.deadlines import wait_until
from tests.support.streams import Memory

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import CompletenessMarker, read_marker, record_gap
from dynamirror.dynamodb.client import Aws, describe_table
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Scan, scan_table
from dynamirror.dynamodb.stream_reader import StreamReader
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table, write_items
from dynamirror.functions import simulator
from dynamirror.recovery.comparison import Comparison, Share
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.recovery.rebuild_state import Progress, Run
from dynamirror.recovery.sweep import SweepProgress
from dynamirror.recovery.verify import Verification, compare
from dynamirror.replication.canary_probe import CanaryProbe
from dynamirror.replication.gap_detector import GapDetector
from dynamirror.replication.replicator import Replicator
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.event_source_mapping import Function
from dynamirror.views.view import Views, ViewSpec

FENCE_TTL = 93_600
# All runs on this machine's clock.
MARGIN = 1
Write = Callable[[], object]


class World:
    """A table of its own in the emulator, and its mirror.

    Args:
        server: the emulator.
        cache: the cache.
        specs: the views; default the default one.
        keys: the table's key attributes and their types.
        items: what it holds before its stream is switched on.
    """

    def __init__(
        self,
        server: EmbeddedDynamoDB,
        cache: Cache,
        *specs: ViewSpec,
        keys: Mapping[str, str] | None = None,
        items: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.cache = cache
        self.aws = server.aws
        self.client = server.aws.dynamodb()
        self.table = f"t-{uuid4().hex[:12]}"
        self._specs = specs or (ViewSpec(),)
        self.stack = ExitStack()
        create_table(self.client, self.table, keys or {"id": "S"}, view_type=None)
        write_items(self.client, self.table, items)
        self.switch(on=True)
        self._learn()
        # What was written before the stream was on is lacking; nothing else is.
        gap = int(time()) if items else 0
        record_gap(self.cache, self.views, stream=self.arn, at=gap, reason="it is new")

    def _learn(self) -> None:
        source = describe_table(self.client, self.table)
        self.arn, self.schema = source.stream_arn, source.schema
        views = Views.for_schema(self._specs, self.schema)
        self.views = views.bind(self.schema)
        self.replicator = Replicator(self.cache, views, fence_ttl=FENCE_TTL)

    def switch(self, *, on: bool) -> None:
        """Switch the stream on, a new one, or off."""
        stream: Any = {"StreamEnabled": on}
        if on:
            stream["StreamViewType"] = "NEW_AND_OLD_IMAGES"
        self.client.update_table(TableName=self.table, StreamSpecification=stream)

    def change_views(self, **options: Any) -> None:
        """Another view than before."""
        self._specs = (ViewSpec(**options),)
        self._learn()

    def follow_the_new_stream(self) -> Delivery:
        """Mirror from the stream that the table has now."""
        self._learn()
        return self.follow()

    def follow(self, aws: Aws | None = None, function: Function | None = None) -> Delivery:
        """Mirror the table from now on.

        Args:
            aws: the way to the stream; default the direct one.
            function: gets the batches instead of the replicator.
        """
        delivery = Delivery(
            StreamReader((aws or self.aws).streams(), self.arn),
            function or self.replicator,
            Memory(),
            poll_seconds=0.1,
            discover_seconds=1,
            record_gap=partial(self.watch().record_gap, self.arn),
        )
        delivery.start()
        self.stack.callback(delivery.stop)
        return delivery

    def put(self, item_id: str, **attributes: str) -> None:
        """Put one item."""
        texts = {name: {"S": text} for name, text in {"id": item_id, **attributes}.items()}
        self.client.put_item(TableName=self.table, Item=texts)

    def puts(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Put many items, of which the stream tells."""
        write_items(self.client, self.table, items)

    def delete(self, item_id: str) -> None:
        """Delete one item."""
        self.client.delete_item(TableName=self.table, Key={"id": {"S": item_id}})

    def items(self) -> list[Any]:
        """All the table holds."""
        return list(scan_table(self.client, self.table))

    @property
    def marker(self) -> CompletenessMarker:
        """What the cache says of itself."""
        return read_marker(self.cache, self.table)

    def watch(self) -> GapDetector:
        """What notes gaps."""
        return GapDetector(self.cache, self.views)

    def rebuild(self, **options: Any) -> Rebuild:
        """The steps of a rebuild."""
        return Rebuild(
            self.cache,
            self.views,
            options.pop("client", self.client),
            fence_ttl=FENCE_TTL,
            stream_arn=self.arn,
            margin=MARGIN,
            **options,
        )

    def begun(self, steps: Rebuild, *, segments: int = 1, restart: bool = False) -> Run:
        """Wait until a run can begin."""
        end = monotonic() + 30
        while (run := steps.begin(segments=segments, restart=restart).run) is None:
            assert monotonic() < end, "none can"
            sleep(0.2)
        return run

    def rebuilt(self, *, segments: int = 1, **options: Any) -> tuple[list[Progress], SweepProgress]:
        """Do a whole rebuild."""
        steps = self.rebuild(**options)
        run = self.begun(steps, segments=segments, restart=True)
        loaded = [steps.load(run, index) for index in range(segments)]
        swept = steps.sweep(run)
        steps.finish(run)
        return loaded, swept

    def caught_up(self, delivery: Delivery) -> None:
        """Wait until all that was written has been delivered."""
        now = monotonic()
        wait_until(lambda: delivery.caught_up(now))

    def compare(self) -> Comparison:
        """Compare all, while nothing is in flight."""
        return compare(scan_table(self.client, self.table), self.cache, self.views)

    def verify(
        self, *, share: Share | None = None, settle: float = 1.0, **options: Any
    ) -> Comparison:
        """Compare all while anything goes on."""
        return self.verification(settle=settle, **options).run(share or Share())

    def verification(self, **options: Any) -> Verification:
        """What compares table and mirror."""
        known: dict[str, Any] = {
            "cache": self.cache,
            "views": self.views,
            "scan": Scan(self.client, self.table, margin=MARGIN),
            "reader": SnapshotReader(self.client, self.table, margin=MARGIN),
            "fence_ttl": FENCE_TTL,
        }
        return Verification(**known | options)

    def simulated(self, seed: int, *, ids: int = 100) -> Iterator[Write]:
        """Writes of the simulator: puts and deletes of ids from "1" on."""
        client = self.aws.dynamodb()
        for operation in simulator.operations(random.Random(seed), ids=ids):
            yield lambda operation=operation: simulator.write(client, self.table, operation)  # type: ignore[misc]

    def counted(self, seed: int, ids: Iterable[str], **attributes: str) -> Iterator[Write]:
        """Puts of ids, each item with a number that only grows."""
        client, rng, chosen = self.aws.dynamodb(), random.Random(seed), list(ids)
        for number in count(1):
            item: Any = {"id": {"S": rng.choice(chosen)}, "n": {"N": str(number)}}
            item |= {name: {"S": text} for name, text in attributes.items()}
            yield lambda item=item: client.put_item(TableName=self.table, Item=item)  # type: ignore[misc]

    @contextmanager
    def written_to(self, writes: Iterator[Write], *, pause: float = 0.02) -> Iterator[list[int]]:
        """Make writes all the time; gives their number so far.

        Args:
            writes: what to write.
            pause: seconds between two, so that the rest gets its turn.
        """
        halt, number, errors = threading.Event(), [0], []

        def write() -> None:
            try:
                for one in writes:
                    one()
                    number[0] += 1
                    if halt.wait(pause):
                        return
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)

        writer = threading.Thread(target=write, name="writer", daemon=True)
        writer.start()
        try:
            wait_until(lambda: number[0] > 20 or errors)
            yield number
        finally:
            halt.set()
            writer.join()
        assert not errors, errors[0]


class MakeWorld(Protocol):
    """Makes a table of its own and its mirror; see `World`."""

    def __call__(self, *specs: ViewSpec, **options: Any) -> World:
        """Make one."""


MakeCanary = Callable[[World], CanaryProbe]
