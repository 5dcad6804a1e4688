"""The inspector's functions around a queue and a table of a test, on a clock of the test."""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import time
from typing import Any

import msgspec
import pytest
from tests.support.emf_lines import emf_lines
from tests.support.mirroring import Mirror, Table

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.items import CONSISTENT_MARGIN, SnapshotRow
from dynamirror.functions import inspector
from dynamirror.functions.inspector import InspectorFunction
from dynamirror.functions.judge import Judge
from dynamirror.functions.questions import (
    InspectorSettings,
    Question,
    Questions,
    all_questions,
)
from dynamirror.inspection.expectation import expectations_of_change
from dynamirror.records.stream_record import decode
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.view import Schema, Views, ViewSpec


class Queue:
    """SQS with one queue: messages that are delayed, and those that it refuses.

    Args:
        clock: returns seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.waiting: list[tuple[float, str]] = []
        self.refuses: set[int] = set()
        self._calls = 0

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Take messages, as SQS does."""
        assert QueueUrl
        assert len(Entries) <= 10
        self._calls += 1
        if self._calls in self.refuses:
            return {"Failed": [{"Id": entry["Id"]} for entry in Entries]}
        for entry in Entries:
            assert isinstance(entry["DelaySeconds"], int)
            assert 0 <= entry["DelaySeconds"] <= 900
            assert len(entry["MessageBody"]) < 65_536
            due = self._clock() + entry["DelaySeconds"]
            self.waiting.append((due, entry["MessageBody"]))
        return {}


class Inspected:
    """A table, its mirror, and the inspector's functions.

    Args:
        cache: the cache.
        spec: the view.
        thresholds: ages in seconds, separated by commas.
        share: share of the items that are inspected.
        late: seconds by which messages are late.
    """

    def __init__(
        self,
        cache: Cache,
        spec: ViewSpec,
        *,
        thresholds: str = "1,10,60",
        share: float = 1.0,
        late: float = 0.05,
    ) -> None:
        self.table, self.mirror = Table(), Mirror(cache, spec)
        # In the middle of a second, as changes are on average.
        self.now = int(time()) + 0.5
        self.late = late
        self.waited: list[float] = []
        self.reads = 0
        self.queue = Queue(lambda: self.now)
        self.judge_fails = False
        views = Views((spec,), lambda table, keys: Schema(table, tuple(keys)))
        settings = InspectorSettings(
            queue="https://queue", judge="judge", share=share, thresholds=thresholds
        )
        self.judge = Judge(
            cache,
            views,
            lambda _table: self.read,
            settings.ages,
            clock=lambda: self.now,
            wait=self.wait,
        )
        self.function = InspectorFunction(settings, views, self)  # type: ignore[arg-type]

    def shared(self) -> "Inspected":
        """Return what creates the clients."""
        return self

    def client(self, service: str, **_options: Any) -> Any:
        """Return the client of SQS or Lambda."""
        return self.queue if service == "sqs" else self

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        """Invoke the judge, as Lambda does."""
        assert FunctionName == "judge"
        if self.judge_fails:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorType": "x"}')}
        later = self.judge(all_questions(json.loads(Payload)))
        return {"Payload": io.BytesIO(msgspec.json.encode(later))}

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.waited.append(seconds)
        self.now += seconds

    def read(self, keys: Sequence[Any]) -> Iterator[SnapshotRow]:
        """Read items of the table, consistently."""
        version = SnapshotVersion(int(self.now) - CONSISTENT_MARGIN)
        for key in keys:
            self.reads += 1
            yield SnapshotRow(key, self.table.items.get(key["id"]["S"]), version)

    def change(self, *records: dict[str, Any], mirrored: bool = True) -> None:
        """Give records of changes that were made just now to replicator and inspector."""
        for record in records:
            record["dynamodb"]["ApproximateCreationDateTime"] = int(self.now)
        if mirrored:
            assert self.mirror.deliver(records) is None
        self.function.sample(records)

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass, and have all judged that is due; messages come a little late."""
        end = self.now + seconds
        while self.queue.waiting and min(self.queue.waiting)[0] + self.late <= end:
            self.queue.waiting.sort()
            due, text = self.queue.waiting.pop(0)
            self.now = max(self.now, due + self.late)
            messages = [{"messageId": "1", "body": text}]
            assert self.function.judge(messages) == []
        self.now = max(self.now, end)

    def messages(self) -> list[Questions]:
        """Return the messages that wait."""
        return [Questions.from_json(text) for _due, text in self.queue.waiting]


class Counted:
    """Reads the metrics and the violations that were logged.

    Args:
        read: returns what was logged since it was called last.
    """

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read
        self.values: dict[str, float] = {}
        self.kinds: dict[str, float] = {}
        self.staleness: list[float] = []
        self.violations: list[dict[str, Any]] = []

    def __call__(self) -> "Counted":
        """Add what was logged since."""
        lines, logged = emf_lines(self._read())
        for line in lines:
            for name, value in line.values.items():
                self.values[name] = self.values.get(name, 0) + value
                if line.kind:
                    self.kinds[line.kind] = self.kinds.get(line.kind, 0) + value
            self.staleness += line.samples.get("Staleness", [])
        self.violations += [each for each in logged if each["message"] == "consistency violated"]
        return self

    def within(self, seconds: float) -> tuple[float, float]:
        """Return the right answers and all answers at an age."""
        return (
            self.values.get(f"ConsistentWithin{seconds:g}s", 0),
            self.values.get(f"AskedWithin{seconds:g}s", 0),
        )


def questions_of(record: Mapping[str, Any], views: Views, *, age: float, stage: int) -> Questions:
    """Return the questions about a record, as a message of the queue has them.

    Args:
        record: the record.
        views: the views of its table.
        age: seconds since the change.
        stage: number of the threshold that is next.
    """
    change = decode(record)
    asked = [
        Question(expectation, change.keys)
        for view in views.of_change(change)
        for expectation in expectations_of_change(view, change)
    ]
    return Questions(change.table, time() - age, asked, stage=stage, is_new=False)


def on_the_clock(inspected: Inspected, monkeypatch: pytest.MonkeyPatch) -> Inspected:
    """Have the inspector's function read the clock of a test."""
    monkeypatch.setattr(inspector, "time", lambda: inspected.now)
    return inspected
