"""The tutorial works as it is written."""

import re
import sys
from pathlib import Path

from tests.support.deadlines import wait_until
from tests.support.pasted import paste, script_of
from tests.support.processes import alive, linux_only


@linux_only
def test_the_tutorial_works_when_pasted(tmp_path: Path) -> None:
    """Run all its `bash` blocks in one shell and this virtual environment."""
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    status, output = paste(script_of("try.md"), tmp_path)
    assert status == 0, output
    states = re.findall(r"the mirror is (complete|incomplete)[,:\n]", output)
    assert states == ["complete", "incomplete", "complete", "complete"], output
    comparisons = re.findall(r"entries: (.*)\n", output)
    assert comparisons == [
        "0 missing, 0 different, 0 orphaned",
        "0 missing, 0 different, 1 orphaned",
    ]
    assert "1 of 1 differences repaired" in output
    wait_until(lambda: not (tmp_path / "demo.env").exists())
    wait_until(lambda: not alive(tmp_path))
