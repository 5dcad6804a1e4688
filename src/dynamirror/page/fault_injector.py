"""Run the actions that a viewer starts, one at a time."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from dynamirror.demo.demo import Demo
from dynamirror.errors import DynamirrorError
from dynamirror.page.action_context import ActionContext
from dynamirror.page.actions import Action, offered_actions
from dynamirror.page.event_log import EventLog
from dynamirror.page.state import Button, Event
from dynamirror.page.table_writer import TableWriter
from dynamirror.records.attribute_value import Item


class FaultInjector:
    """Breaks and repairs the mirror of a running demo as a viewer wishes."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._log = EventLog()
        self._writer = TableWriter(demo, self._log.add_event)
        self._halt = threading.Event()
        self._context = ActionContext(
            demo=demo, log=self._log, writer=self._writer, halt=self._halt
        )
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fault-injector")
        self._busy: str | None = None
        self._running: Future[None] | None = None
        self._accepts = True
        self._may_write = False

    def events(self) -> Sequence[Event]:
        """Return the actions and their outcomes, newest first."""
        return self._log.events()

    def pinned(self) -> Sequence[Item]:
        """Return the item whose entry was damaged, if any."""
        fragile = self._context.fragile
        return () if fragile is None else (fragile.item,)

    def buttons(self) -> Sequence[Button]:
        """Return a button for every action that is possible now."""
        busy = self._busy
        return tuple(
            action.button(name, busy=name == busy) for name, action in self._offered().items()
        )

    def press(self, name: str) -> None:
        """Start an action by its name, unless another one is running."""
        with self._lock:
            action = self._offered().get(name)
            if action is not None and self._busy is None and self._accepts:
                self._busy = name
                self._running = self._pool.submit(self._run, action)

    def finish(self) -> None:
        """Wait for the running action, refuse new ones, and start a stopped replicator."""
        with self._lock:
            self._accepts = False
        if self._running is not None:
            self._running.result()
        if not self._demo.is_replicating:
            self._demo.start_replicator()

    def resume(self) -> None:
        """Accept actions again, writes to the table included."""
        with self._lock:
            self._accepts = self._may_write = True

    def close(self) -> None:
        """Abort the running action, refuse new ones, and stop the writes."""
        self._halt.set()
        with self._lock:
            self._accepts = False
        self._pool.shutdown()
        self._writer.stop()

    def _run(self, action: Action) -> None:
        try:
            action.run(self._context)
        except DynamirrorError as error:
            self._log.add_event(f"{action.label}: {error}")
        finally:
            self._busy = None

    def _offered(self) -> dict[str, Action]:
        return offered_actions(self._context, may_write=self._may_write)
