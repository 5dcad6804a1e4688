"""Renew the hash-locked requirements; the files name no registry and no URL."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

PROJECT = ROOT / "pyproject.toml"
DEV = HERE / "dev.txt"
DEMO = HERE / "demo.txt"
# What the Lambda zip is built from; it travels in the wheel, beside the module that builds.
ASSET = ROOT / "src/dynamirror/cdk/requirements.txt"

# Every lock is constrained by the widest one, so that a package has one version everywhere.
LOCKS = {
    DEV: ["--python-version", "3.11", "--all-extras", "--group", f"{PROJECT}:dev"],
    DEMO: ["--python-version", "3.11", "--extra", "page", str(HERE / "build.in")],
    # Lambda's Python 3.11 is past 3.11.3, from which on no package needs a marker; a marker would
    # be evaluated for the Python that builds, not for the one in Lambda.
    ASSET: ["--python-version", "3.11.3"],
}


def compile_lock(path: Path, options: list[str]) -> None:
    """Write a lock: exact versions with hashes, for every platform and Python."""
    constraint = [] if path == DEV else ["--constraint", str(DEV)]
    subprocess.run(  # noqa: S603 - our own words, no shell
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--upgrade"),
            *("--universal", "--generate-hashes"),
            *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
            *options,
            *constraint,
            *("--output-file", str(path)),
            str(PROJECT),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    for lock, lock_options in LOCKS.items():
        compile_lock(lock, lock_options)
