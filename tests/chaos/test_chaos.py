"""A short run of `make chaos`."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_everything_that_breaks_under_a_live_writer_heals_without_a_difference() -> None:
    seed = 7
    words = ("--seeds", "1", "--first", str(seed), "--seconds", "6", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["differences"] == 0, f"seed {seed}: {result}"
    assert result["verified"] > 0, "it was verified and repaired by slots meanwhile"
    assert result["faults"] > 1  # how many depends on how soon each is over
    assert result["written"] > 100  # how many depends on what else the machine does
