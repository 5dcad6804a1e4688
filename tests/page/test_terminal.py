"""The demo's output on the terminal, beside its page."""

import io
import logging
from collections.abc import Generator
from typing import Any

import pytest
from rich.console import Console

from dynamirror.cli.screen import Screen, differences_text, log_shown


def test_a_log_record_of_the_demo_is_printed_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = io.StringIO()
    logger = logging.getLogger("dynamirror")
    with log_shown(Screen(Console(file=terminal))):
        logger.error("mirror incomplete", extra={"reason": "the cache lost [all] its data"})
        logger.warning("no reason")
    assert terminal.getvalue().splitlines() == [
        "mirror incomplete: the cache lost [all] its data",
        "no reason",
    ]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 differences"), (1, "1 difference"), (1200, "1,200 differences")]
)
def test_differences_are_counted_in_english(number: int, text: str) -> None:
    assert differences_text(number) == text


def test_what_writes_is_closed_at_once_when_the_screen_is_interrupted() -> None:
    class Parts:
        @property
        def totals(self) -> Any:
            raise KeyboardInterrupt

    closed = []

    def steps() -> Generator[float, None, None]:
        try:
            yield from (0.0, 1.0)
        finally:
            closed.append(True)

    parts: Any = Parts()
    writing = steps()  # held here, as the traceback of an interrupted command holds it
    terminal = Screen(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(KeyboardInterrupt):
        terminal.follow("writing", parts, writing)
    assert closed == [True]
