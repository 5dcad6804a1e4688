"""Long jobs show how far they are, and how long they still take."""

import pytest

from dynamirror.cli import progress
from dynamirror.cli.progress import progress_shown, time_left
from dynamirror.recovery.division import default_segments


@pytest.mark.parametrize(
    ("seconds", "done", "left", "text"),
    [
        (10, 100, 900, ", about 0:01:30 left"),
        (3600, 1_000_000, 99_000_000, ", about 4 days, 3:00:00 left"),
        (10, 0, 900, ""),
        (10, 1000, 0, ""),
        (10, 1000, -5, ""),
        (0, 5, 5, ""),
    ],
)
def test_the_time_left_is_estimated_from_what_was_done(
    seconds: float, done: float, left: float, text: str
) -> None:
    assert time_left(seconds, done, left) == text


def test_a_resumed_job_is_estimated_by_its_own_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with progress_shown() as show:
        show("loading items", 900_000, 1_000_000)
        now[0] += 10
        show("loading items", 901_000, 1_000_000)
    line = "loading items: 901,000 of about 1,000,000, about 0:16:30 left"
    assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize(
    ("items", "size", "segments"),
    [(0, 0, 8), (1_000_000, 400_000_000, 8), (10**9, 4 * 10**11, 2000), (10**13, 10**15, 10**6)],
)
def test_segments_are_chosen_by_the_size_of_the_table(items: int, size: int, segments: int) -> None:
    assert default_segments({"ItemCount": items, "TableSizeBytes": size}) == segments
