"""States how many schedules were tried."""

import pytest

from simulation.schedules import Explored

_TRIED = pytest.StashKey[list[Explored]]()


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> list[Explored]:
    """Each test adds what it tried; the sum is told at the end."""
    return request.config.stash.setdefault(_TRIED, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell the sum."""
    if tried := config.stash.get(_TRIED, []):
        schedules = sum(explored.schedules for explored in tried)
        states = sum(explored.states for explored in tried)
        terminalreporter.write_line(
            f"simulation: {schedules:,} schedules, none of which broke the promise; "
            f"{states:,} states visited, as schedules that meet in a state go on as one"
        )
