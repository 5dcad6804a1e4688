"""The formulas of polling agree with a simulation of Lambda's polls and of random changes."""

import random
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.costs.figures import POLL_SECONDS
from dynamirror.costs.polling import Polling

SECONDS = 20_000


def simulated(changes: float, window: float, largest: int) -> tuple[float, float]:
    """Return invocations a second, and the mean wait, of a shard that Lambda polls."""
    rng = random.Random(1)
    arrivals: list[float] = []
    at, seconds = 0.0, min(SECONDS, max(400.0, 4_000 / changes))
    while (at := at + rng.expovariate(changes)) < seconds:
        arrivals.append(at)
    polls = round(window / POLL_SECONDS)
    done = invocations = poll = 0
    waited = 0.0
    while poll * POLL_SECONDS < seconds:
        poll += 1
        if bisect_right(arrivals, poll * POLL_SECONDS) == done:
            continue
        for _ in range(polls):
            if bisect_right(arrivals, poll * POLL_SECONDS) - done >= largest:
                break
            poll += 1
        now = poll * POLL_SECONDS
        found = bisect_right(arrivals, now) - done
        taken = found // largest * largest or found  # the rest begins another batch
        waited += sum(now - arrival for arrival in arrivals[done : done + taken])
        invocations += -(-taken // largest)
        done += taken
    return invocations / seconds, waited / done


@pytest.mark.parametrize("window", [0, 1, 5])
@pytest.mark.parametrize("changes", [0.05, 1, 4, 25, 300])
def test_the_formulas_agree_with_a_simulation(changes: float, window: float) -> None:
    polling = Polling(changes, window, 10_000)
    invocations, wait = simulated(changes, window, 10_000)
    assert polling.invocations == pytest.approx(invocations, rel=0.1)
    assert polling.wait == pytest.approx(wait, rel=0.1)


@pytest.mark.parametrize("changes", [200, 400, 4_000])
def test_a_full_batch_does_not_wait_for_the_end_of_the_window(changes: float) -> None:
    polling = Polling(changes, 5, 100)
    invocations, wait = simulated(changes, 5, 100)
    assert polling.invocations == pytest.approx(invocations, rel=0.1)
    assert polling.wait == pytest.approx(wait, abs=1.5 * POLL_SECONDS)


@given(
    changes=st.just(0.0) | st.floats(1e-6, 1e6),
    window=st.floats(0, 300),
    largest=st.floats(1, 10_000),
    more=st.floats(0, 300),
)
def test_a_longer_window_never_costs_more(
    changes: float, window: float, largest: float, more: float
) -> None:
    polling = Polling(changes, window, largest)
    longer = Polling(changes, window + more, largest)
    assert longer.invocations <= polling.invocations * (1 + 1e-9)
    assert 0 <= polling.wait <= polling.longest_wait + 1e-9
    assert polling.records <= largest * (1 + 1e-9)
    # As many records as changes: none is invoked for twice, and none is left.
    assert polling.invocations * polling.records == pytest.approx(changes)
