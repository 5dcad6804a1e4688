"""Every line that a demo prints for another terminal works as printed, from any folder."""

import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.processes import environment, start

from dynamirror.cli import hints
from dynamirror.dynamodb.client import Aws

# A hash, under a key that a shell would take apart, of a table that the simulator cannot write.
HASH = """
[[view]]
key = "it's a $HASH {pk} {sk}"
encoding = "hash"

[[table]]
name = "shop"
keys = { pk = "S", sk = "N" }
"""
# Of a shell in which somebody works on a real cache: none of it may lead a command there.
ELSEWHERE = {
    "AWS_PROFILE": "work",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "ELASTICACHE_MAX_KEY_BYTES": "none",
    "ELASTICACHE_PASSWORD": "secret",
    "ELASTICACHE_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:cache",
    "ELASTICACHE_USER": "somebody",
}
ITEMS = '[{"pk": "a \\"b\\"", "sk": 1, "n": 2}, {"pk": "c", "sk": 1, "n": 3}]'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose name a shell would take apart."""
    (folder := tmp_path / "it's here").mkdir()
    (folder / "hash.toml").write_text(HASH)
    (folder / "items.json").write_text(ITEMS)
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
    ("view", "names"),
    [(None, {"simulate", "status", "verify"}), ("hash.toml", {"status", "verify"})],
    ids=["as one line", "as a file, of views"],
)
def test_every_printed_line_works_as_printed(
    folder: Path, tmp_path: Path, view: str | None, names: set[str]
) -> None:
    env = environment(tmp_path, **ELSEWHERE)
    files = ["--view", str(folder / view), "--env", str(folder / "demo.env")] if view else []
    demo = start("demo", "--no-page", "--seconds", "0.2", "--keep", *files, env=env)
    with ExitStack() as opened:
        opened.callback(demo.communicate)
        opened.callback(demo.wait, 60)
        opened.callback(demo.send_signal, signal.SIGINT)
        first, *lines = printed_lines(demo)
        assert {line.split()[3] for line in lines if " -m dynamirror " in line} == names
        # Several terminals at once: none waits for another.
        shells = {
            line: opened.enter_context(
                subprocess.Popen(
                    ["/bin/sh", "-ec", f"{first}\n{line}"],
                    cwd="/",
                    env=env,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for line in lines
        }
        for line, shell in shells.items():
            output, errors = shell.communicate(timeout=120)
            assert shell.returncode == 0, line + output + errors
            assert errors == "", line
            assert "WRONGTYPE" not in output
    assert demo.returncode == 130
    assert not (folder / "demo.env").exists()


def test_the_settings_of_several_tables_name_them_all() -> None:
    demos: Any = SimpleNamespace(
        tables=("orders", "carts"),
        database=SimpleNamespace(aws=Aws("local", None, ("a", "b")), endpoint_url="http://db"),
        valkey=SimpleNamespace(port=7000),
    )
    variables = hints.settings(demos, "mirror.toml")
    assert (variables["DYNAMODB_TABLE"], variables["DYNAMODB_TABLES"]) == ("", "orders,carts")
    assert next(iter(variables)) == "DYNAMODB_TABLE", "by which a demo knows its file"
