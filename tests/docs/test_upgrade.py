"""The way from a released version to this one, and back, works as it is written."""

import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.pasted import paste, script_of
from tests.support.processes import alive, linux_only
from tests.support.written_docs import ROOT

from dynamirror import __version__
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker
from dynamirror.cache.quarantine import read_quarantine
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.valkey import EmbeddedValkey

# The sources of the releases, without the page and the CDK constructs.
OLD = {
    "0.1.0": ROOT / "tests/support/dynamirror_0_1.tar.xz",
    "0.2.0": ROOT / "tests/support/dynamirror_0_2.tar.xz",
}
TABLE = "users"
# What the page presumes: the old version mirrors the table, while something writes to it.
BEFORE = """
pip install 'dynamirror[cli]=={old}'
(python writer.py > writer.log 2>&1 &)
dynamirror run > before.log 2>&1 &
until dynamirror status > /dev/null 2>&1; do sleep 1; done
dynamirror --version
"""
WRITER = """
import boto3, itertools, time
table = boto3.resource("dynamodb").Table("users")
table.put_item(Item={"id": "unmappable", "kind": ["a list"]})
for number in itertools.count():
    table.put_item(Item={"id": str(number % 50), "n": number, "kind": str(number % 3)})
    if number % 7 == 0:
        table.delete_item(Key={"id": str(number % 50)})
    time.sleep(0.05)
"""
VIEWS = """
[[view]]
name = "some"
key = "some:{id}"
when = { kind = "1" }
encoding = "hash"
[[view]]
name = "by kind"
key = "kind:{kind}:{id}"
"""
# `pip install` selects the sources that `dynamirror` runs.
PIP = """#!/bin/sh
case "$2" in *=={number}) echo "{old}" ;; *) echo "{new}" ;; esac > "{folder}/selected"
"""
DYNAMIRROR = """#!/bin/sh
echo "$(basename "$(cat "{folder}/selected")") $1" >> "{folder}/runs"
PYTHONPATH="$(cat "{folder}/selected")" exec "{python}" -c "from dynamirror.cli import main; main()" "$@"
"""  # noqa: E501 - one command


def versions(folder: Path, number: str) -> None:
    """Put a `pip` and a `dynamirror` into a folder's bin/ that know an old version and this one."""
    with tarfile.open(OLD[number]) as archive:
        archive.extractall(folder / number, filter="data")
    (folder / "bin").mkdir()
    for name, text in (("pip", PIP), ("dynamirror", DYNAMIRROR)):
        script = folder / "bin" / name
        script.write_text(
            text.format(
                folder=folder,
                number=number,
                old=folder / number,
                new=ROOT / "src",
                python=sys.executable,
            )
        )
        script.chmod(0o755)


@pytest.fixture
def variables(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache) -> Iterator[Any]:
    """Create a table, and return the environment of a mirror into an empty cache."""
    del cache  # it empties the server
    create_table(dynamodb.aws.dynamodb(), TABLE, {"id": "S"})
    yield {
        **valkey.settings().to_env(),
        "DYNAMODB_TABLE": TABLE,
        "AWS_ENDPOINT_URL": dynamodb.endpoint_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",  # boto3, which the writer uses, knows only this
    }
    dynamodb.aws.dynamodb().delete_table(TableName=TABLE)


@linux_only
@pytest.mark.parametrize("command", ["run", "status", "verify"])
def test_views_that_the_old_version_does_not_know_are_refused_in_one_sentence(
    tmp_path: Path, variables: dict[str, str], command: str
) -> None:
    """The field `shape` stands for one that a later version has."""
    versions(tmp_path, "0.1.0")
    (tmp_path / "mirror.toml").write_text('[[view]]\nshape = "round"\n', encoding="utf-8")
    script = f"pip install 'dynamirror[cli]==0.1.0'\ndynamirror {command}\n"
    status, output = paste(script, tmp_path, DYNAMIRROR_CONFIG="mirror.toml", **variables)
    assert status == 1
    assert re.fullmatch(r"dynamirror: mirror.toml: .*shape.*\n", output), output


@linux_only
@pytest.mark.parametrize(
    ("old", "options"), [("0.1.0", ""), ("0.2.0", "--ha --inspect 1 --canary 1 ")]
)
def test_upgrade_and_rollback_need_no_rebuild_and_lose_no_write(
    tmp_path: Path, variables: dict[str, str], cache: Cache, old: str, options: str
) -> None:
    """The options of this version leave a lease, an inspector's notes and a canary behind."""
    versions(tmp_path, old)
    (tmp_path / "writer.py").write_text(WRITER, encoding="utf-8")
    (tmp_path / "mirror.toml").write_text(VIEWS, encoding="utf-8")
    script = script_of("upgrade.md")
    assert f"=={__version__}'" in script
    assert "==0.1.0'" in script
    script = script.replace(f"=={__version__}'", "==this'").replace("==0.1.0'", f"=={old}'")
    script = script.replace("run > new.log", f"run {options}> new.log")
    script = BEFORE.format(old=old) + script
    status, output = paste(script, tmp_path, DYNAMIRROR_CONFIG="mirror.toml", **variables)
    logs = {
        name: (tmp_path / name).read_text(encoding="utf-8")
        for name in ("before.log", "new.log", "old.log")
    }
    assert status == 0, (output, logs)
    runs = (tmp_path / "runs").read_text(encoding="utf-8").splitlines()
    replicators = [run for run in runs if run.endswith(" run")]
    assert replicators == [f"{old} run", "src run", f"{old} run"]
    assert f"{old}\n" in output
    assert (tmp_path / "writer.log").read_text(encoding="utf-8") == ""
    comparisons = re.findall(r"[1-9]\d* items, [1-9]\d* entries: (.*)\n", output)
    assert comparisons == ["0 missing, 0 different, 0 orphaned"] * 2, output
    assert "incomplete" in logs["before.log"]  # the cache was new: filled once
    assert "incomplete" not in logs["new.log"]
    assert "incomplete" not in logs["old.log"]
    assert read_marker(cache, TABLE).is_complete
    assert [item.name for item in read_quarantine(cache, TABLE)] == ['{"id":{"S":"unmappable"}}']
    wait_until(lambda: not alive(tmp_path))
