"""Zips built once for the whole run, from dependencies that this run downloads."""

import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.pythons import HERE, OTHER

from dynamirror.cdk.asset import Architecture, Asset, build_asset


@pytest.fixture(scope="session", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Provide an empty folder for the downloads of this run."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _no_other_python(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    """Of all that may be installed, only the Python that runs the tests is found."""
    monkeypatch.setenv("PATH", str(kept))


@pytest.fixture(scope="session")
def arm64(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Asset:
    """Build an asset for another processor, and a Python that is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(kept))
        return build_asset(tmp_path_factory.mktemp("arm64") / "lambda.zip", python=OTHER)


@pytest.fixture(scope="session")
def build_native() -> Callable[[Path], Asset]:
    """Build for this machine and this Python, with a `mirror.toml` that writes to user:ID."""

    def build(folder: Path) -> Asset:
        machine: Architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
        folder.mkdir(exist_ok=True)
        config = folder / "users.toml"
        config.write_text('[[view]]\nkey = "user:{id}"\n', encoding="utf-8")
        return build_asset(folder / "lambda.zip", architecture=machine, python=HERE, config=config)

    return build


@pytest.fixture(scope="session")
def native(
    tmp_path_factory: pytest.TempPathFactory, build_native: Callable[[Path], Asset]
) -> Asset:
    """Build such an asset."""
    return build_native(tmp_path_factory.mktemp("native"))
