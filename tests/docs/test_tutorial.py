"""The tutorial works as it is written."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.deadlines import wait_until
from tests.support.processes import alive, environment, linux_only
from tests.support.written_docs import ROOT, blocks


@linux_only
def test_the_tutorial_works_when_pasted(tmp_path: Path) -> None:
    """Run all its `bash` blocks in one shell and this virtual environment."""
    page = (ROOT / "docs/try.md").read_text(encoding="utf-8")
    script = "".join(block.text for block in blocks(page) if block.language == "bash")
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    shell = shutil.which("bash")
    assert shell
    with (tmp_path / "output").open("w+") as file:
        process = subprocess.Popen(
            [shell, "-e", "-o", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(120)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        file.seek(0)
        output = file.read()
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
