"""The package that deploys a mirror without CDK: a CloudFormation template and zips of code."""

import json
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from dynamirror.cdk.asset import Architecture, Asset, build_asset
from dynamirror.deployment.file import read_deployment
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.extras import check_installed

ARCHITECTURES: Final[tuple[Architecture, ...]] = ("arm64", "x86_64")
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
MAX_TEMPLATE_BYTES: Final = 1_000_000
MAX_INLINE_BYTES: Final = 51_200
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Describe a package that was built.

    Args:
        template: path of the template.
        template_bytes: size of the template.
        zips: zips of the functions by architecture.
    """

    template: Path
    template_bytes: int
    zips: dict[Architecture, Asset]

    def __str__(self) -> str:
        """Return one line for each file."""
        lines = [f"{self.template}: {self.template_bytes / 1e3:.0f} kB"]
        return "\n".join([*lines, *map(str, self.zips.values())])


def build_package(
    output: Path, *, config: Path | None = None, python: str | None = None
) -> Package:
    """Write a template, and a zip of the functions for each architecture, into a folder.

    The names of the zips contain a digest of their content, so that CloudFormation deploys new
    code whenever it differs. The same sources make the same bytes.

    Args:
        output: folder to write to, which is created.
        config: path of the `mirror.toml` of one deployment; None for a template with parameters.
        python: Python version of the functions; default that of the file, or the newest.

    Raises:
        ConfigError: the file is wrong, or the template too large for CloudFormation.
        DynamirrorError: a zip cannot be built, or a file cannot be written.
    """
    context = {"python": python} if python else {}
    deployment = read_deployment(str(config) if config else None, context)
    check_installed("the template", "aws_cdk", "cdk")
    _check_node()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DynamirrorError(f"{output}: cannot be created: {error.strerror}") from None
    from dynamirror.cdk.template import (  # noqa: PLC0415 - the import starts Node.js
        render_deployment,
        render_template,
        variant_templates,
    )

    zips = {
        architecture: _build_zip(output, architecture, deployment.functions.python, config)
        for architecture in ARCHITECTURES
    }
    names = {architecture: asset.path.name for architecture, asset in zips.items()}
    if config is None:
        name = "dynamirror"
        document = render_template(variant_templates(deployment.functions.python), names)
    else:
        name = deployment.stack_name
        document = render_deployment(deployment, names)
    text = json.dumps(document, separators=(",", ":")) + "\n"
    if len(text) > MAX_TEMPLATE_BYTES:
        raise ConfigError(
            f"{config}: table: the template has {len(text)} bytes, and CloudFormation takes "
            f"{MAX_TEMPLATE_BYTES}; divide the tables among mirrors, or set dashboard = false"
        )
    path = output / f"{name}.template.json"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DynamirrorError(f"{path}: cannot be written: {error.strerror}") from None
    return Package(template=path, template_bytes=len(text), zips=zips)


def _check_node() -> None:
    node = os.environ.get("JSII_NODE", "node")
    if shutil.which(node) is None:
        raise DynamirrorError(
            f"the template needs Node.js, and there is no {node}; install it, or set JSII_NODE to "
            "its path"
        )


def _build_zip(output: Path, architecture: Architecture, python: str, config: Path | None) -> Asset:
    draft = output / f".{architecture}.zip"
    asset = build_asset(draft, architecture=architecture, python=python, config=config)
    name = f"dynamirror-{version('dynamirror')}-{architecture}-{asset.sha256[:_DIGITS]}.zip"
    return Asset(
        path=draft.replace(output / name),
        sha256=asset.sha256,
        zipped=asset.zipped,
        unpacked=asset.unpacked,
        compiled=asset.compiled,
    )
