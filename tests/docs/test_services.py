"""The pages about services: their commands name what is there, and quote what is so."""

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.manifests import resource
from tests.support.written_docs import ROOT, blocks, check_command

NAMES = ("docker", "ecs", "kubernetes", "systemd")
TEXTS = {name: (ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in NAMES}
# What stands before a command of ours: the image, a service, a separator.
INSIDE = re.compile(r"(?:docker run .*? dynamirror|exec mirror dynamirror|-- dynamirror)(?= |$)")


def commands(name: str) -> list[str]:
    """Return the command lines of a page, each in one line."""
    return [
        line
        for block in blocks(TEXTS[name])
        if not block.language
        for line in block.text.replace("\\\n", " ").splitlines()
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_a_command_names_is_there(name: str) -> None:
    words = [word for line in commands(name) for word in shlex.split(line)]
    files = {word for word in words if re.match(r"(?:deploy|requirements|docs)/", word)}
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_shell_expands_a_word_of_a_command(name: str) -> None:
    plain = [re.sub(r"'[^']*'", "", line) for line in commands(name)]
    assert [line for line in plain if re.search(r"[*?$!]", line)] == []


@pytest.mark.parametrize("name", ["docker", "kubernetes"])
def test_every_command_inside_a_container_is_one_of_ours(name: str) -> None:
    inside = [
        shlex.split(line[match.end() :])
        for line in commands(name)
        if (match := INSIDE.search(line))
    ]
    assert len(inside) > 1
    for words in inside:
        if words:
            assert check_command(["dynamirror", *words]) == []


def test_the_page_for_ecs_sets_all_parameters_without_a_default() -> None:
    template: Any = msgspec.yaml.decode((ROOT / "deploy/ecs/service.yaml").read_text("utf-8"))
    (line,) = (line for line in commands("ecs") if " --parameter-overrides " in line)
    words = shlex.split(line.partition("--parameter-overrides")[2])
    given = {name: value for name, _, value in (word.partition("=") for word in words)}
    example = {"REGION": "eu-west-1", "ACCOUNT": "123456789012"}
    for name, value in given.items():
        text = re.sub("|".join(example), lambda match: example[match[0]], value)
        assert re.fullmatch(template["Parameters"][name].get("AllowedPattern", ".+"), text), name
    needed = {
        name for name, parameter in template["Parameters"].items() if "Default" not in parameter
    }
    assert given.keys() == needed
    named = set(re.findall(r"`(\w+)(?:=[\w-]+)?`", TEXTS["ecs"]))
    outputs = {"TaskSecurityGroup"}
    assert {"CacheKind", "AssignPublicIp", "Architecture", "Tasks", "Config"} <= named
    assert outputs <= template["Outputs"].keys()


def test_the_rights_on_the_page_are_those_of_the_role() -> None:
    text = (ROOT / "deploy/ecs/service.yaml").read_text(encoding="utf-8")
    role = text.partition("  TaskRole:")[2].partition("  ExecutionRole:")[0]
    rows = TEXTS["ecs"].partition("| it may | on |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(?:\w+:)?(\w+)`", rows))
    assert named == set(re.findall(r"(?:dynamodb|elasticache):(\w+)$", role, re.MULTILINE))


def test_the_page_for_kubernetes_names_what_there_is() -> None:
    for kind in ("Deployment", "PodDisruptionBudget", "ServiceAccount", "NetworkPolicy", "Service"):
        assert f"| {kind} |" in TEXTS["kubernetes"]
        assert resource(kind)["metadata"]["name"] == "dynamirror"
    assert resource("Namespace")["metadata"]["name"] == "dynamirror"


def test_the_unit_s_times_are_those_on_its_page() -> None:
    unit = Path(ROOT / "deploy/systemd/dynamirror.service").read_text(encoding="utf-8")
    times = dict(re.findall(r"^(\w+Sec)=(\d+)$", unit, re.MULTILINE))
    page = " ".join(TEXTS["systemd"].split())
    assert f"Without a report for {times['WatchdogSec']} seconds" in page
    assert f"reports every {int(times['WatchdogSec']) // 2} seconds" in page
    assert f"waits {times['TimeoutStopSec']} seconds" in page
    assert f"again in {times['RestartSec']} seconds" in page
