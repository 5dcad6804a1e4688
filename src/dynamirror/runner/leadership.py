"""Which of several processes replicates a table: one leads, the others stand by."""

import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from time import monotonic
from types import TracebackType
from typing import Final, Self

from dynamirror.cache.lease import Lease, Leases, new_token
from dynamirror.errors import CacheError

LEASE_SECONDS: Final = 6.0
# A leader renews its lease after this part of it, and a process that stands by looks as often.
_RENEWALS: Final = 6
_LONGEST_PAUSE_SECONDS: Final = 1.0
# A leader that gives way leads again after this time, unless another process has taken over.
_AWAY_SECONDS: Final = 10.0


class Term:
    """The time for which this process leads, from taking the lease to losing it.

    Once it has ended, no late renewal brings it back: its work may have begun to stop.

    Args:
        token: its token in the lease.
        end: when it ends unless it is renewed, by the clock.
        clock: monotonic seconds.

    Attributes:
        on_end: called when it has ended, by another thread.
        why_give_way: returns why another process should lead; None if there is no reason.
    """

    def __init__(self, token: str, end: float, clock: Callable[[], float] = monotonic) -> None:
        self.token = token
        self.on_end: Callable[[], object] = lambda: None
        self.why_give_way: Callable[[], str | None] = lambda: None
        self._end = end
        self._clock = clock
        self._lock = threading.Lock()

    def remaining(self) -> float:
        """Return the seconds that are left for certain; 0 once it has ended."""
        with self._lock:
            if self._clock() >= self._end:
                self._end = -inf
            return max(0.0, self._end - self._clock())

    @property
    def holds(self) -> bool:
        """Return whether this process leads."""
        return self.remaining() > 0

    def renew(self, end: float) -> None:
        """Let it end later, if it has not ended."""
        if self.holds:
            with self._lock:
                self._end = max(self._end, end) if self._end > -inf else -inf

    def revoke(self) -> None:
        """End it now."""
        with self._lock:
            self._end = -inf
        self.on_end()


class Leadership:
    """Takes the lease of a table when it is free, and renews it, inside `with`.

    A term ends by this process's clock a lease's length after the last renewal was *sent*, so never
    later than in the cache. A lease that is gone without being released was lost by the cache: the
    leader takes it again when it renews it, and a process that stands by waits until the lease that
    it last saw has run out. A lease that is there for longer, as after the cache's clock went back,
    is released by a process that stands by.

    Args:
        leases: the lease in the cache.
        table: the table's name.
        notify: called with a sentence for the operator.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        leases: Leases,
        table: str,
        *,
        notify: Callable[[str], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._leases = leases
        self._table = table
        self._notify = notify
        self._clock = clock
        self._pause = min(_LONGEST_PAUSE_SECONDS, leases.seconds / _RENEWALS)
        self._halt = threading.Event()
        self._free_at = clock()  # when another's lease has run out
        self._away_until = clock()
        self._seen: Lease | None = None
        self._trouble: str | None = None
        self._looked_at = clock()
        self._term: Term | None = None
        self._renewer: threading.Thread | None = None

    @property
    def term(self) -> Term | None:
        """Return this process's term; None while it stands by."""
        term = self._term
        return term if term is not None and term.holds else None

    @property
    def leader(self) -> str | None:
        """Return who else leads, as far as is known; None for nobody."""
        seen = self._seen
        return seen.who if seen is not None and seen.is_held else None

    def stalled(self) -> float:
        """Return for how many seconds the lease was not looked at."""
        return max(0.0, self._clock() - self._looked_at)

    @property
    def role(self) -> str | None:
        """Return who leads while this process stands by, in words; None if it leads."""
        if self.term is not None:
            return None
        return "the leader is unknown" if self._trouble else f"{self.leader or 'nobody'} leads"

    def why_not_standing_by(self) -> str | None:
        """Return why this process could not take over; None if it could."""
        if self._trouble is not None:
            return f"standby, but the lease cannot be read: {self._trouble}"
        return None if self.leader else "standby, and nobody leads yet"

    def wait(self, halt: threading.Event) -> Term | None:
        """Wait for a term, which is renewed from then on; None if halted before."""
        announced: str | None = ""
        while not halt.is_set():
            self._looked_at = self._clock()
            try:
                term = self._look()
                self._trouble = None
            except CacheError as error:
                term, self._trouble = None, str(error)
            if term is not None:
                self._notify("this process leads")
                self._begin(term)
                return term
            leader = self.leader
            if leader is not None and announced != leader:
                announced = leader
                self._notify(f"this process stands by: {leader} leads")
            halt.wait(self._pause)
        return None

    def end(self, term: Term) -> None:
        """End a term after its work was stopped, and release the lease for the next process."""
        self._halt.set()
        if self._renewer is not None:
            self._renewer.join()
        self._term = self._renewer = None
        with suppress(CacheError):  # then the lease runs out
            self._leases.release(term.token)

    def _look(self) -> Term | None:
        """Take the lease if it is free."""
        asked = self._clock()  # this process may be paused from here on
        lease = self._leases.read()
        if lease is not None and lease.is_held:
            if lease != self._seen:
                self._seen = lease
                self._free_at = self._clock() + lease.seconds
            elif asked >= self._free_at:
                self._leases.release(lease.token)  # its term has ended, even so
            return None
        if lease is None and asked < self._free_at:
            return None  # the cache lost it: its holder is the first to take it again
        return self._take() if asked >= self._away_until else None

    def _take(self) -> Term | None:
        token, asked = new_token(), self._clock()
        lease = self._leases.take(token)
        if lease is None or lease.token != token:
            return None
        self._seen = None
        return Term(token, asked + self._leases.seconds, self._clock)

    def _begin(self, term: Term) -> None:
        self._term = term
        self._halt.clear()
        self._renewer = threading.Thread(
            target=self._renew_until_lost, args=(term,), name=f"lease {self._table}", daemon=True
        )
        self._renewer.start()

    def _renew_until_lost(self, term: Term) -> None:
        trouble = "its process was paused"
        while not self._halt.wait(max(0.0, min(self._pause, term.remaining()))):
            self._looked_at = asked = self._clock()
            if not term.holds:
                break
            if (reason := term.why_give_way()) is not None:
                trouble, self._away_until = reason, asked + _AWAY_SECONDS
                break
            try:
                lease = self._leases.take(term.token)
            except CacheError as error:
                trouble = str(error)
                continue
            if lease is None or lease.token != term.token:
                trouble = "another process took the lease"
                self._seen = lease
                self._free_at = self._clock() + self._leases.seconds
                break
            term.renew(asked + self._leases.seconds)
            trouble = "its process was paused"
        else:
            return
        self._notify(f"this process leads no longer: {trouble}")
        term.revoke()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        term = self._term
        if term is not None:
            self.end(term)
