"""The `bash` blocks of a page, pasted into one shell."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from tests.support.processes import environment
from tests.support.written_docs import ROOT, blocks


def scripts_of(page: str) -> list[str]:
    """Return the `bash` blocks of a page in docs/, in their order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [block.text for block in blocks(text) if block.language == "bash"]


def script_of(page: str) -> str:
    """Return all `bash` blocks of a page in docs/ as one script."""
    return "".join(scripts_of(page))


def paste(script: str, folder: Path, **variables: str) -> tuple[int, str]:
    """Run a script in a folder until it ends or a command fails; return status and output.

    `dynamirror` and `python` are this environment's. What the script leaves running is stopped.
    """
    shell = shutil.which("bash")
    assert shell
    env = environment(folder, **variables)
    env["PATH"] = os.pathsep.join([str(folder / "bin"), f"{sys.prefix}/bin", env["PATH"]])
    with TemporaryFile("w+") as file:
        process = subprocess.Popen(
            [shell, "-e", "-o", "pipefail", "-c", script],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(300)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        file.seek(0)
        return status, file.read()
