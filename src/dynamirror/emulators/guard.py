"""A script that runs a server until its owner ends, even by SIGKILL.

Usage: `python guard.py FOLDER COMMAND...`. The owner holds the other end of standard input. When
that closes, the guard stops the server and removes FOLDER.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1  # prctl(2)
_GRACE_SECONDS = 5.0


def _die_with_parent() -> None:
    """On Linux, let the kernel end the server if this guard is killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(folder: str, command: list[str]) -> int:
    """Run the command until it or the owner ends, and return its exit status."""
    server = subprocess.Popen(  # noqa: S603 - our own command line
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads have been started yet
    )

    def stop_when_owner_is_gone() -> None:
        while os.read(0, 1024):
            pass
        server.terminate()
        try:
            server.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()

    threading.Thread(target=stop_when_owner_is_gone, daemon=True).start()
    status = server.wait()
    shutil.rmtree(folder, ignore_errors=True)
    return status


if __name__ == "__main__":
    # Ctrl-C reaches the whole terminal; the owner decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
