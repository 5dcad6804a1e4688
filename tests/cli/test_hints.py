"""Every line that a demo prints for another terminal works as printed, from any folder."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.processes import environment, start

ROOT = Path(__file__).parents[2]
# As in the cache: a hash, and a key that a shell would take apart.
HASH = """
[[view]]
key = "it's a $HASH {id}"
encoding = "hash"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose name a shell would take apart."""
    (folder := tmp_path / "it's here").mkdir()
    (folder / "hash.toml").write_text(HASH)
    return folder


def printed_lines(demo: "subprocess.Popen[str]") -> list[str]:
    """Return the lines that a demo prints for another terminal."""
    assert demo.stdout
    for line in demo.stdout:
        if line.startswith("left running"):
            break
    lines, last = [], "aws dynamodb" if shutil.which("aws") else "GET"
    for line in demo.stdout:
        lines.append(line.strip())
        if last in line:
            break
    return lines


@pytest.mark.parametrize(
    ("view", "with_file", "names"),
    [
        (None, False, {"simulate", "status", "verify"}),
        ("hash.toml", True, {"simulate", "status", "verify"}),
        (str(ROOT / "examples/single-table/mirror.toml"), True, {"status", "verify"}),
    ],
)
def test_every_printed_line_works_as_printed(
    folder: Path, tmp_path: Path, view: str | None, *, with_file: bool, names: set[str]
) -> None:
    env = environment(tmp_path)
    options = ["--view", str(folder / view)] if view else []
    options += ["--env", str(folder / "demo.env")] if with_file else []
    demo = start("demo", "--no-page", "--seconds", "0.2", "--keep", *options, env=env)
    try:
        first, *lines = printed_lines(demo)
        assert {line.split()[3] for line in lines if " -m dynamirror " in line} == names
        for line in lines:
            done = subprocess.run(
                ["/bin/sh", "-ec", f"{first}\n{line}"],
                cwd="/",
                env=env,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, line + done.stdout + done.stderr
            assert done.stderr == "", line
            if " GET " in line or "'GET'" in line or "HGETALL" in line:
                assert "WRONGTYPE" not in done.stdout
    finally:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130
        demo.communicate()
    assert not (folder / "demo.env").exists()
