"""`make` sets up a virtual environment with whatever is there for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="needs make")


def make(folder: Path, *lacking: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `make venv` for a folder with a Python that lacks modules.

    Args:
        folder: gets `.venv` and what stands for the modules.
        lacking: the modules that cannot be imported.
        path: further commands.
    """
    assert MAKE is not None
    (without := folder / "without").mkdir()
    for name in lacking:
        (without / f"{name}.py").write_text("raise ImportError", encoding="utf-8")
    system = "/usr/bin:/bin"
    return subprocess.run(
        [MAKE, "venv", f"VENV={folder / '.venv'}", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env={
            **{name: text for name, text in os.environ.items() if not name.startswith("MAKE")},
            "PYTHONPATH": str(without),
            "PATH": f"{path}:{system}" if path else system,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def has_pip(folder: Path) -> bool:
    """Whether the virtual environment in a folder is one that packages can be installed in."""
    python = str(folder / ".venv/bin/python")
    words = [python, "-I", "-m", "pip", "--version"]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    return str(folder / ".venv") in told


def test_venv_alone_suffices(tmp_path: Path) -> None:
    done = make(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert has_pip(tmp_path)


@pytest.mark.parametrize("lacking", ["ensurepip", "venv"])
def test_uv_stands_in_for_what_is_missing(tmp_path: Path, lacking: str) -> None:
    (path := tmp_path / "bin").mkdir()
    (path / "uv").symlink_to(Path(sys.executable).with_name("uv"))
    done = make(tmp_path, lacking, "pip", path=path)
    assert done.returncode == 0, done.stderr
    assert has_pip(tmp_path)


@pytest.mark.skipif(Path("/usr/bin/uv").exists(), reason="uv would be taken")
def test_pip_stands_in_for_ensurepip(tmp_path: Path) -> None:
    done = make(tmp_path, "ensurepip")
    assert done.returncode == 0, done.stderr
    assert has_pip(tmp_path)


@pytest.mark.skipif(Path("/usr/bin/uv").exists(), reason="uv would be taken")
def test_without_any_of_them_the_remedy_is_told(tmp_path: Path) -> None:
    done = make(tmp_path, "ensurepip", "pip")
    assert done.returncode
    assert "apt-get install python3-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()
