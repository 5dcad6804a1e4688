"""`make test-fast` leaves out the tests that start much, and no others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = {
    "pure": "def test_pure(): ...",
    "property": "@given(st.none())\ndef test_pure_property(_): ...",
    "one": "def test_one_server(cache): ...",
    "property_server": "@given(st.none())\ndef test_property_on_a_server(valkey, _): ...",
    "table": "def test_table(dynamodb): ...",
    "process": "import subprocess\ndef test_process(): ...",
    "process_too": "from subprocess import run\ndef test_process_too(): ...",
    "cdk": "from aws_cdk import App\ndef test_cdk(): ...",
}


def test_only_tests_that_start_little_are_fast(tmp_path: Path) -> None:
    """Pytest collects one small test of each kind under our own conftest."""
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    for name, text in TESTS.items():
        lines = f"from hypothesis import given, strategies as st\n\n{text}\n"
        (tmp_path / f"test_{name}.py").write_text(lines, encoding="utf-8")
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "not slow"), tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    fast = {line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line}
    assert fast == {"test_pure", "test_pure_property", "test_one_server"}, done.stdout
