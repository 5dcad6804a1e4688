"""The log of actions on a mirror and their outcomes."""

import threading
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import count

from dynamirror.page.state import Event

_MOST_EVENTS = 50


class EventLog:
    """The latest events; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)

    def events(self) -> Sequence[Event]:
        """Return the latest events, newest first."""
        with self._lock:
            return tuple(self._events)

    def add_event(self, text: str, *, good: bool = False) -> None:
        """Add a sentence with the present time."""
        at = datetime.now().astimezone().strftime("%H:%M:%S")
        with self._lock:
            self._events.appendleft(Event(next(self._numbers), at, text, good))
