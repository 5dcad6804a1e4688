"""The jobs over a whole table, each run through to its end in many short invocations."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from time import perf_counter
from typing import Any, Final
from uuid import uuid4

import msgspec

from dynamirror.cache.scripts import Command
from dynamirror.operations.service import Operations
from dynamirror.recovery.audit import last_turn
from dynamirror.recovery.audit_lease import save_busy
from scale.caches import Servers, ServerUse
from scale.client import StandIn, StandInAws
from scale.sandboxes import ENDINGS, Counts, Sandboxes, TaskError
from scale.states_language import Machine
from scale.table import NAME, Edits, Table
from scale.yardstick import Yardstick

UNDISTURBED: Final = ", no kills"
# How many entries are made to be missing, different and orphaned.
_PLANTED: Final = 40


class Job(msgspec.Struct, frozen=True):
    """What one job came to.

    Args:
        name: the job.
        items: items of the table.
        nodes: nodes of the cache.
        parts: parts of table and cache, if they are given.
        concurrency: invocations at a time.
        seconds: from its begin to its end, without waits.
        invocations: invocations of its functions.
        transitions: transitions of the state machines.
        resumed: those that went on with the work of an earlier one.
        kills: those that were ended between two commands.
        timeouts: those that took longer than they may.
        errors: those that raised an error.
        invocation_seconds: duration of all invocations.
        worker_seconds: CPU time of the workers, without what the stand-in for the table takes.
        table_seconds: time that the stand-in takes.
        server_seconds: CPU time of the cache.
        commands: commands to the cache.
        exchanges: batches of commands whose answers were waited for.
        scripts: those that ran a script.
        keys: keys of the cache at the end; each job lists them once.
        megabytes: data from and to the cache in MB.
        read_units: read units.
        scanned: items that Scan returned.
        requests: requests to the table.
        looked_up: items that were read one by one.
        peak_mb: most resident memory of a worker in MB.
        memory_mb: memory of the cache at the end in MB.
        wrong: what is not as it should be.
        yardstick: CPU time of a fixed piece of work meanwhile, in seconds; 1 if it was not timed.
    """

    name: str
    items: int
    nodes: int
    parts: int
    concurrency: int
    seconds: float
    invocations: int
    transitions: int
    resumed: int
    kills: int
    timeouts: int
    errors: int
    invocation_seconds: float
    worker_seconds: float
    table_seconds: float
    server_seconds: float
    commands: int
    exchanges: int
    scripts: int
    keys: int
    megabytes: float
    read_units: float
    requests: int
    scanned: int
    looked_up: int
    peak_mb: float
    memory_mb: float
    wrong: list[str]
    yardstick: float = 1.0

    @property
    def microseconds(self) -> float:
        """Return the microseconds of an item."""
        return self.seconds / self.items * 1e6

    @property
    def cpu_microseconds(self) -> float:
        """Return the CPU time of an item in microseconds: of workers and cache."""
        return (self.worker_seconds + self.server_seconds) / self.items * 1e6

    @property
    def paced(self) -> float:
        """Return the CPU time of an item as a multiple of the yardstick's."""
        return self.cpu_microseconds / self.yardstick


class Jobs:
    """Runs jobs over a table and a cache.

    Args:
        servers: the cache, which is empty.
        sandboxes: invoke the functions.
        definitions: the state machines.
        items: number of the table's items.
        seed: seed of the table.
        concurrency: number of invocations at a time.
    """

    def __init__(
        self,
        servers: Servers,
        sandboxes: Sandboxes,
        definitions: Mapping[str, Any],
        *,
        items: int,
        seed: int,
        concurrency: int,
    ) -> None:
        self._servers = servers
        self._sandboxes = sandboxes
        self._definitions = definitions
        self._concurrency = concurrency
        self._table = Table(items, seed)
        client = StandIn(self._table)
        StandInAws.client_of_table = client
        self._operations = Operations(servers.settings, StandInAws(), NAME)
        numbers = Random(seed).sample(range(items), min(3 * _PLANTED, items))
        self._missing = numbers[::3]
        self._orphaned = numbers[1::3]
        self._changed = numbers[2::3]
        self._without = Edits(gone=frozenset(self._missing))
        self._edited = Edits(gone=frozenset(self._orphaned), changed=frozenset(self._changed))

    def close(self) -> None:
        """Close the connections."""
        self._operations.cache.close()

    def backfill(self, segments: int) -> Job:
        """Fill the empty cache, which holds some orphaned entries."""
        keys = [self._key(item) for item in self._table.absent(_PLANTED)]
        self._call([(key, (b"SET", key, "{}")) for key in keys])

        def run(job: "_Measured") -> None:
            job.execute("Rebuild", {"action": "backfill", "segments": segments})
            job.check("complete", self._operations.status().complete, wanted=True)
            left = sum(self._call([(key, (b"EXISTS", key)) for key in keys]))
            job.check("orphaned entries after the sweep", left, wanted=0)

        return self._measure("backfill and sweep", segments, self._without, run)

    def verify(self, parts: int, *, kills: bool = True) -> Job:
        """Verify, with some entries missing, different and orphaned.

        Args:
            parts: number of segments of the table.
            kills: whether workers are killed meanwhile, and do some of the work again.
        """

        def run(job: "_Measured") -> None:
            found = job.execute("Rebuild", {"action": "verify", "segments": parts, "settle": 0})
            planted = {"missing": self._missing, "different": self._changed}
            for kind, numbers in {**planted, "left_over": self._orphaned}.items():
                job.check(kind, found.get(kind), wanted=len(numbers))
            job.check("in flight", found.get("in_flight"), wanted=0)
            job.check("items", found.get("items"), wanted=self._table.count)
            entries = self._table.items - len(self._missing)
            job.check("entries", found.get("entries"), wanted=entries)

        name = f"verify, {parts} parts" if parts > 1 else "verify, 1 part"
        self._sandboxes.kills = kills
        try:
            return self._measure(f"{name}{UNDISTURBED * (not kills)}", parts, self._edited, run)
        finally:
            self._sandboxes.kills = True

    def audit(self, parts: int) -> Job:
        """Audit all parts once, and repair."""

        def run(job: "_Measured") -> None:
            job.audit(
                parts,
                lambda: self._is_round_done(parts),
                lambda: save_busy(self._operations.cache, NAME, 0),
            )
            for kind, wrong in self._wrong_entries().items():
                job.check(f"{kind} after the repair", len(wrong), wanted=0)

        return self._measure("audit round", parts, self._edited, run)

    def rebuild(self) -> Job:
        """Flush the cache, and let the watchdog find that."""
        self._servers.flush()

        def run(job: "_Measured") -> None:
            job.execute("Watch", {"table": NAME})
            job.check("complete", self._operations.status().complete, wanted=True)
            for kind, wrong in self._wrong_entries().items():
                job.check(kind, len(wrong), wanted=0)

        return self._measure("rebuild after a flush", 0, self._edited, run)

    def _measure(
        self, name: str, parts: int, edits: Edits, run: Callable[["_Measured"], None]
    ) -> Job:
        self._sandboxes.end_all()  # each job begins with fresh sandboxes
        self._sandboxes.edits = self._table.edits = edits
        self._sandboxes.take_counts()
        job = _Measured(self._sandboxes, self._definitions, self._concurrency)
        before = self._servers.use()
        with Yardstick() as yardstick:
            run(job)
        result = job.result(name, parts, self._table.items, self._servers, before)
        return msgspec.structs.replace(result, yardstick=yardstick.seconds)

    def _is_round_done(self, parts: int) -> bool:
        turn = last_turn(self._operations.cache, NAME)
        return turn is not None and turn.done and turn.part == parts - 1

    def _wrong_entries(self) -> dict[str, list[int]]:
        """Return the planted differences that are still there, by kind."""
        cases = {
            "missing": (self._missing, 1),
            "orphaned": (self._orphaned, 0),
        }
        wrong = {}
        for kind, (numbers, wanted) in cases.items():
            keys = [self._key_of(number) for number in numbers]
            found = self._call([(key, (b"EXISTS", key)) for key in keys])
            wrong[kind] = [
                number for number, each in zip(numbers, found, strict=True) if each != wanted
            ]
        keys = [self._key_of(number) for number in self._changed]
        found = self._call([(key, (b"GET", key)) for key in keys])
        view, different = self._operations.views[0], []
        for number, value in zip(self._changed, found, strict=True):
            item = self._table.item(number)
            assert item is not None
            if view.encode(item) != value:
                different.append(number)
        return wrong | {"different": different}

    def _key_of(self, number: int) -> str:
        return self._key(self._table.key(number))

    def _key(self, item: Any) -> str:
        key = self._operations.views[0].render(item)
        assert key is not None
        return key

    def _call(self, calls: Sequence[tuple[str, Any]]) -> list[Any]:
        return self._operations.cache.execute(
            [Command(key.encode(), words) for key, words in calls]
        )


class _Measured:
    """One job under way."""

    def __init__(
        self, sandboxes: Sandboxes, definitions: Mapping[str, Any], concurrency: int
    ) -> None:
        self._sandboxes = sandboxes
        self._definitions = definitions
        self._concurrency = concurrency
        self._id = uuid4().hex
        self._executions = 0
        self._wrong: list[str] = []
        self._resumed = 0
        self._transitions = 0
        self._seconds = 0.0

    def check(self, what: str, value: object, *, wanted: object) -> None:
        """Record a value that is not as it should be."""
        if value != wanted:
            self._wrong.append(f"{what}: {value}, not {wanted}")

    def execute(self, machine: str, options: Mapping[str, Any]) -> Any:
        """Execute a state machine, and return its output; a failure is recorded."""
        given = (
            {"maxConcurrency": self._concurrency, **options} if machine == "Rebuild" else options
        )
        begun = perf_counter()
        try:
            return self._execute(machine, given)
        except TaskError as error:
            self._wrong.append(str(error))
            return {}
        finally:
            self._seconds += perf_counter() - begun

    def _execute(self, name: str, options: Mapping[str, Any]) -> Any:
        definition = self._definitions[name]
        self._executions += 1
        execution = f"{self._id}-{self._executions}"
        machine = Machine(definition, self._invoke, skip=self._skip, name=execution)
        try:
            return machine.execute(options)
        finally:
            self._resumed += machine.trace.resumptions
            self._transitions += machine.trace.transitions

    def _invoke(self, resource: str, event: Any) -> Any:
        if resource.endswith(":listExecutions"):
            return {"Executions": []}
        if resource.endswith(":startExecution"):
            options = {"maxConcurrency": self._concurrency, **event["Input"]}
            return self._execute("Rebuild", options)
        return self._sandboxes.invoke("worker", event)

    def _skip(self, seconds: float) -> None:
        self._sandboxes.ahead += seconds

    def audit(
        self, parts: int, is_done: Callable[[], bool], skip_wait: Callable[[], object]
    ) -> None:
        """Invoke the auditor, as its schedule does, until all parts were audited.

        Args:
            parts: number of parts.
            is_done: returns whether the last part was audited to its end.
            skip_wait: called in the place of a wait until a killed invocation no longer counts as
                busy.
        """
        self._concurrency = 1  # an invocation does nothing while another one is busy
        begun, invocations, has_waited = perf_counter(), 0, False
        while not is_done():
            try:
                result = self._sandboxes.invoke("auditor", {"table": NAME})
            except TaskError as error:
                if error.name not in ENDINGS:
                    self._wrong.append(f"auditor: {error}")
                    break
            else:
                if result["comparison"] is None:
                    if has_waited:
                        self._wrong.append("auditor: it compared nothing")
                        break
                    skip_wait()
                    has_waited = True
                    continue
            has_waited = False
            invocations += 1
        self._resumed += invocations - parts
        self._seconds += perf_counter() - begun

    def result(self, name: str, parts: int, items: int, servers: Servers, before: ServerUse) -> Job:
        """Return what the job came to."""
        counts: Counts = self._sandboxes.take_counts()
        used, after = counts.used, servers.use()
        return Job(
            name=name,
            items=items,
            nodes=servers.count,
            parts=parts,
            concurrency=self._concurrency,
            seconds=self._seconds,
            invocations=counts.invocations,
            transitions=self._transitions,
            resumed=self._resumed,
            kills=counts.kills,
            timeouts=counts.timeouts,
            errors=counts.errors,
            invocation_seconds=counts.seconds,
            worker_seconds=used.cpu_seconds - used.table_seconds,
            table_seconds=used.table_seconds,
            server_seconds=after.cpu_seconds - before.cpu_seconds,
            commands=used.commands,
            exchanges=used.exchanges,
            scripts=after.scripts - before.scripts,
            keys=after.keys,
            megabytes=after.megabytes - before.megabytes,
            read_units=used.read_units,
            requests=used.requests,
            scanned=used.scanned,
            looked_up=used.looked_up,
            peak_mb=used.peak_mb,
            memory_mb=after.memory_mb,
            wrong=self._wrong,
        )
