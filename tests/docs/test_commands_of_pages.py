"""Each page with commands is run by a test, or says here what a test has not."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.processes import environment, invoke
from tests.support.written_docs import PAGES, ROOT, blocks, commands

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_gap
from dynamirror.dynamodb.client import describe_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.views.view import ViewSpec

# Pages whose `dynamirror` commands run below, against one mirror.
MIRRORED = ("costs.md", "inspecting.md", "quarantine.md", "recovery.md", "views.md")
# Pages with `bash` blocks: test_howtos.py names the modules that run those.
PASTED = {"load-data.md", "single-table.md", "testing.md", "try.md", "upgrade.md"}
AWS = "it needs an AWS account; the tests of the pages check commands, outputs and parameters"
DOCKER = "it needs Docker, which tests/deploy does without"
MAKE = "make itself sets up an environment; tests/packaging and tests/deploy try its targets"
ENDLESS = "its processes end by Ctrl-C; tests/cli and tests/watching start them with these options"
NOT_RUN = {
    "CONTRIBUTING.md": MAKE,
    "README.md": AWS,
    "access-patterns.md": "tests/examples runs the same tests",
    "cdk-options.md": AWS,
    "cloudformation.md": AWS,
    "deploy.md": AWS,
    "docker.md": DOCKER,
    "ecs.md": AWS,
    "grafana.md": ENDLESS,
    "index.md": MAKE,
    "kubernetes.md": "it needs a cluster; tests/deploy checks the manifests against the schemas",
    "metrics.md": ENDLESS,
    "network.md": AWS,
    "page.md": ENDLESS,
    "reading.md": "tests/reader/test_languages.py runs them without the command-line client",
    "runbook.md": "tests/runbook runs them against emulated services",
    "sam.md": AWS,
    "systemd.md": "it needs a machine; tests/deploy runs the unit's command under its limits",
    "terraform.md": AWS,
}
TABLES = ("users", "orders")
VIEWS = """
[[view]]
key = "{table}:{id}"

[[table]]
name = "users"
keys = { id = "S" }
"""
FIRST_WORDS = re.compile(
    r"^(?:cd|pip|python|sudo|sh|zip|aws|docker|kubectl|sam|terraform|promtool|redis-cli|make"
    r"|dynamirror) ",
    re.MULTILINE,
)
# They run until they are stopped.
SKIPPED = {("run",), ("inspect", "--share"), ("inspect", "--source"), ("status", "--watch")}


def shell_of(page: Path) -> str:
    """Return what a page shows for a shell, outside its `bash` blocks and its reference."""
    text = page.read_text(encoding="utf-8")
    return "\n".join(block.text for block in blocks(text) if block.language in ("", "sh", "text"))


def test_each_page_with_commands_is_run_or_names_what_is_missing() -> None:
    pages = {page.name for page in PAGES if FIRST_WORDS.search(shell_of(page))}
    generated = {"command-line.md"}  # the forms of the commands, not commands
    assert pages - PASTED - generated == {*MIRRORED, *NOT_RUN}


@pytest.fixture
def mirrored(
    dynamodb: EmbeddedDynamoDB,
    valkey: EmbeddedValkey,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[dict[str, str]]:
    """Create two tables, and return the environment of a mirror that may be filled at once."""
    monkeypatch.chdir(tmp_path)
    Path("mirror.toml").write_text(VIEWS, encoding="utf-8")
    client = dynamodb.aws.dynamodb()
    for table in TABLES:
        create_table(client, table, {"id": "S"})
        source = describe_table(client, table)
        view = ViewSpec().bind(source.schema)
        # After an old gap, a rebuild need not wait.
        record_gap(cache, [view], stream=source.stream_arn, at=1, reason="a test")
    yield environment(
        tmp_path,
        AWS_ENDPOINT_URL=dynamodb.endpoint_url,
        DYNAMODB_TABLE="users",
        **valkey.settings().to_env(),
    )
    for table in TABLES:
        client.delete_table(TableName=table)


@pytest.mark.parametrize("name", MIRRORED)
def test_the_commands_of_a_page_work_on_a_mirror(name: str, mirrored: dict[str, str]) -> None:
    tried = 0
    for program, *words in commands(shell_of(ROOT / "docs" / name)):
        is_endless = any(tuple(words[: len(skipped)]) == skipped for skipped in SKIPPED)
        if program != "dynamirror" or is_endless:
            continue
        # An hour, shortened.
        done = invoke(*("0.2" if word == "3600" else word for word in words), env=mirrored)
        # 1 is an answer, as of `status` for a mirror that nobody keeps.
        assert done.returncode in (0, 1), done.stderr
        assert "dynamirror:" not in done.stderr, shlex.join(words) + done.stderr
        tried += 1
    assert tried
