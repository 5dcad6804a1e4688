"""Our own command line, as a process or within this one, and which processes are there (Linux)."""

import gc
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from unittest.mock import patch
from warnings import catch_warnings

import pytest
import typer.main

from dynamirror.cli import main

# A process makes its command line once; this one would make it for each command that it runs.
typer.main.get_command = cache(typer.main.get_command)

PROC = Path("/proc")
linux_only = pytest.mark.skipif(not (PROC / "self/stat").exists(), reason="needs /proc")

COMMAND = (sys.executable, "-c", "from dynamirror.cli import main; main()")
_MARK = "DYNAMIRROR_TEST_MARK"


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """This environment without AWS and cache settings; temporary files go to `folder`.

    Whatever is started with it, however indirectly, is found by `alive(folder)`.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "ELASTICACHE_", "DYNAMIRROR_"))
    }
    return kept | {"TMPDIR": str(folder), _MARK: str(folder)} | variables


@contextmanager
def interruptible() -> Iterator[None]:
    """Let what is started meanwhile take SIGINT, whatever this process does with it.

    A shell without job control has its background processes ignore it, and so do all that they
    start. What is handled, and not ignored, is as by default after exec().
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start(
    *arguments: str, env: Mapping[str, str], before: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start `dynamirror` with its output in pipes.

    Args:
        arguments: its own.
        env: its environment.
        before: a command that becomes it.
    """
    with interruptible():
        return subprocess.Popen(
            [*before, *COMMAND, *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def run(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `dynamirror` to its end, as a process."""
    return subprocess.run(
        [*COMMAND, *arguments], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def invoke(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `dynamirror` to its end within this process, which saves half a second of imports."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, env, clear=True),
        patch.object(sys, "argv", ["dynamirror", *arguments]),
        redirect_stdout(output),
        redirect_stderr(errors),
        catch_warnings(action="ignore", category=ResourceWarning),
    ):
        gc.freeze()  # to look through no object that was there before
        try:
            with pytest.raises(SystemExit) as ended:
                main()
            gc.collect()  # what the end of a process closes
        finally:
            gc.unfreeze()
    status = ended.value.code
    assert isinstance(status, int)
    return subprocess.CompletedProcess(sys.argv, status, output.getvalue(), errors.getvalue())


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not yet asked for its status does not."""
    try:
        state = (PROC / str(pid) / "stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"


def alive(folder: Path) -> list[int]:
    """All processes that run with `environment(folder)`, or in that folder."""
    mark = f"{_MARK}={folder}".encode()
    return [
        pid
        for pid in _pids()
        # Valkey writes its title over its environment; it runs in a folder of its own.
        if (mark in _read(pid, "environ").split(b"\0") or _works_in(pid).is_relative_to(folder))
        and is_alive(pid)
    ]


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    children = [child for child in _pids() if _parent(child) == pid]
    return children + [pid for child in children for pid in descendants(child)]


def listening(pids: Sequence[int]) -> list[str]:
    """The addresses, in hex, that processes accept TCP connections at."""
    addresses = []
    for pid in pids:
        sockets = set()
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    sockets.add(target[8:-1])
        for table in ("net/tcp", "net/tcp6"):
            for line in _read(pid, table).decode().splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                if state == "0A" and inode in sockets:
                    addresses.append(local.split(":")[0])
    return addresses


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b") ")[2].split()
    return int(fields[1]) if fields else 0


def _works_in(pid: int) -> Path:
    try:
        return (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return PROC


def _read(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
