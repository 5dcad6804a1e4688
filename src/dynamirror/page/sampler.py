"""Update the page's state in the background."""

import logging
from collections import deque
from dataclasses import replace
from time import monotonic

from dynamirror.demo.percentile import percentile_ms
from dynamirror.errors import DynamirrorError
from dynamirror.page.condition import mirror_condition
from dynamirror.page.measurement import measurement_of
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.page.observer import Observer
from dynamirror.page.state import Measurement, PageState, Point
from dynamirror.runner.delivery import Delivery
from dynamirror.stoppable_thread import StoppableThread
from dynamirror.views.batch_result import Tally

logger = logging.getLogger("dynamirror")

_HISTORY_SECONDS = 60.0
# Table and cache are not read this long after the last view.
_VIEWED_SECONDS = 5.0
_FAILING_SECONDS = 10.0
_OUTDATED = "the page cannot be updated; the log has the error"


class Sampler(StoppableThread):
    """Makes one state per interval for all viewers, and reads table and cache only for viewers.

    Args:
        interval: seconds between states.
    """

    def __init__(self, mirror: MirrorSource, *, interval: float) -> None:
        super().__init__("page sampler")
        self.mirror = mirror
        self._state = PageState(buttons=mirror.buttons())
        self._interval = interval
        self._begin = monotonic()
        self._viewed = float("-inf")
        self._observer = Observer(mirror)
        self._history: deque[Point] = deque(maxlen=round(_HISTORY_SECONDS / interval))
        self._before = (self._begin, 0, 0, 0)
        self._reached: float | None = None
        self._failures: deque[tuple[float, int]] = deque([(self._begin, 0)])

    def view(self) -> PageState:
        """Note that somebody watches, and return the newest state."""
        self._viewed = monotonic()
        return self._state

    def run(self) -> None:
        """Update the state until stopped."""
        while not self._halt.wait(self._interval):
            try:
                self._tick()
            except Exception:  # a frozen page would show old values as current
                logger.exception("the page cannot be updated")
                self._show_trouble()

    def _show_trouble(self) -> None:
        observation = replace(self._state.observation, trouble=_OUTDATED)
        condition, detail = mirror_condition(running=True, behind=None, observation=observation)
        self._state = replace(
            self._state,
            number=self._state.number + 1,
            condition=condition,
            detail=detail,
            observation=observation,
        )

    def _tick(self) -> None:
        mirror = self.mirror
        delivery = mirror.delivery()
        behind = self._behind(delivery)
        self._history.append(self._point(behind))
        is_failing = self._is_failing()
        if monotonic() - self._viewed > _VIEWED_SECONDS:
            return
        observation = self._observer.observe(delivery)
        condition, detail = mirror_condition(
            running=delivery is not None,
            behind=behind,
            observation=observation,
            standby=mirror.standby(),
        )
        lags = mirror.lags[:] if mirror.lags else ()
        self._state = PageState(
            number=self._state.number + 1,
            condition=condition,
            detail=detail,
            tally=Tally(*(getattr(mirror.tally, name) for name in Tally.__struct_fields__)),
            written=mirror.written() if mirror.written else None,
            history=tuple(self._history),
            lag_ms={"p50": percentile_ms(lags, 50), "p99": percentile_ms(lags, 99)},
            observation=observation,
            measurement=self._measurement(),
            is_failing=is_failing,
            events=mirror.events(),
            buttons=mirror.buttons(),
        )

    def _measurement(self) -> Measurement | None:
        """Return what inspectors have measured; what was shown before if that cannot be read."""
        try:
            inspection = self.mirror.inspection()
        except DynamirrorError:
            return self._state.measurement
        return None if inspection is None else measurement_of(inspection)

    def _behind(self, delivery: Delivery | None) -> float | None:
        """Return an upper bound of the lag in seconds, or None before the first shard is read."""
        now = monotonic()
        if delivery is not None:
            delivery.wait(0)  # raises the error that ended it
            behind = delivery.lag()
            if behind is not None:
                self._reached = now - behind
        return None if self._reached is None else max(0.0, now - self._reached)

    def _is_failing(self) -> bool:
        """Return whether entries have failed lately; an older failure has been delivered again."""
        now, failed = monotonic(), self.mirror.tally.failed
        self._failures.append((now, failed))
        while now - self._failures[0][0] > _FAILING_SECONDS:
            self._failures.popleft()
        return failed > self._failures[0][1]

    def _point(self, behind: float | None) -> Point:
        mirror, now = self.mirror, monotonic()
        applied = mirror.tally.applied
        written = mirror.written() if mirror.written else 0
        lags = mirror.lags or ()
        at, written_before, applied_before, lags_before = self._before
        self._before = (now, written, applied, len(lags))
        seconds = max(now - at, 0.001)
        new_lags = lags[lags_before:]
        return Point(
            at=round(now - self._begin, 1),
            p50=percentile_ms(new_lags, 50),
            p99=percentile_ms(new_lags, 99),
            written=round((written - written_before) / seconds, 1) if mirror.written else None,
            applied=round((applied - applied_before) / seconds, 1),
            behind=behind,
        )
