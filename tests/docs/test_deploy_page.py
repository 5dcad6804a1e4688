"""The tutorial of a deployment: its files, its outputs and its program."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.templates import synthesize  # prepares jsii
from tests.support.written_docs import ROOT, blocks, section

from dynamirror.deployment.file import read_deployment
from dynamirror.preflight.run import preflight_offline

if TYPE_CHECKING:
    from dynamirror.deployment.file import Deployment

PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
FILES = [block.text for block in blocks(PAGE) if block.language == "toml"]


def deployed(text: str, tmp_path: Path) -> "Deployment":
    """Read a file of the page."""
    (path := tmp_path / "mirror.toml").write_text(text, encoding="utf-8")
    return read_deployment(str(path))


@pytest.mark.parametrize("text", FILES, ids=["new", "own"])
def test_the_files_are_deployments_that_pass_the_preflight(text: str, tmp_path: Path) -> None:
    deployment = deployed(text, tmp_path)
    assert preflight_offline(deployment).exit_status == 0
    assert f'name = "{deployment.mirror.name}"' in text


def test_the_stack_of_the_tutorial_has_the_outputs_that_it_reads(tmp_path: Path) -> None:
    deployment = deployed(FILES[0], tmp_path)
    assert {f"Dynamirror-{name}" for name in re.findall(r"Dynamirror-(\w+)", PAGE)} == {
        deployment.stack_name
    }
    template = synthesize(config=str(tmp_path / "mirror.toml")).to_json()
    outputs = template["Outputs"]
    read = re.findall(r"\$\(output (\w+)", PAGE)
    assert len(read) == 4
    assert set(read) <= set(outputs)
    kinds = {resource["Type"] for resource in template["Resources"].values()}
    assert not [kind for kind in kinds if kind.startswith("AWS::EC2::")]


def test_the_program_is_that_of_the_page_on_reading() -> None:
    """tests/clients runs that one, with the reader's access string, over TLS."""
    (program,) = [block.text for block in blocks(PAGE) if block.language == "python"]
    reading = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    (connecting,) = blocks(section(reading, "redis-py"))
    assert program.startswith(connecting.text)
    assert program.removeprefix(connecting.text) == 'print(cache.get("orders:c1:1"))\n'
