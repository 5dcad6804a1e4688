"""Renews the hash-locked requirements; the files name no registry and no URL."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

# Every lock is constrained by the widest one, so that a package has one version everywhere.
LOCKS = {
    "dev": ["--extra", "dev"],
    "demo": ["--extra", "local"],
    "base": [],
}


def compile_lock(name: str, options: list[str]) -> None:
    """Write requirements/NAME.txt: exact versions with hashes, for every platform and Python."""
    sources = [HERE.parent / "pyproject.toml"]
    if name == "demo":
        sources.append(HERE / "build.in")
    constraint = [] if name == "dev" else ["--constraint", str(HERE / "dev.txt")]
    subprocess.run(  # noqa: S603 - our own words, no shell
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--upgrade"),
            *("--universal", "--python-version", "3.11", "--generate-hashes"),
            *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
            *options,
            *constraint,
            *("--output-file", str(HERE / f"{name}.txt")),
            *map(str, sources),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    for lock, lock_options in LOCKS.items():
        compile_lock(lock, lock_options)
