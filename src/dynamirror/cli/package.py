"""Build what deploys a mirror without CDK."""

import os
from pathlib import Path
from typing import Annotated

import typer

from dynamirror.cdk.package import build_package
from dynamirror.cli.interrupts import interruptible


def package(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="MIRROR.TOML",
            help="File of one deployment. Without it, the template has parameters.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="FOLDER", help="Folder of the files.")
    ] = Path("dist"),
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="VERSION", help="Python version of the functions."),
    ] = None,
) -> None:
    """Build a CloudFormation template and the zips of its functions, to deploy without CDK."""
    with interruptible(_silence_jsii):
        built = build_package(output, config=config, python=python)
    typer.echo(str(built))


def _silence_jsii() -> None:
    """Discard what jsii prints at the exit about its Node.js, which Ctrl-C has ended, too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
