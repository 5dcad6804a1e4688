"""The Kubernetes manifests in deploy/kubernetes, as the kustomization puts them together."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"


def read(name: str) -> Any:
    """Return the only document of a file."""
    return msgspec.yaml.decode((FOLDER / name).read_text(encoding="utf-8"))


@cache
def kustomization() -> Any:
    """Return the kustomization."""
    return read("kustomization.yaml")


def resource(kind: str) -> Any:
    """Return the only resource of a kind."""
    (found,) = (each for each in resources() if each["kind"] == kind)
    return found


def resources() -> list[Any]:
    """Return the resources that the kustomization names."""
    return [read(name) for name in kustomization()["resources"]]


def settings() -> dict[str, str]:
    """Return the variables of settings.env."""
    lines = (FOLDER / "settings.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
