"""The ECS service: valid, with the least rights, and true of the image."""

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cfnlint import api as cfnlint
from cfnlint.config import ManualArgs
from tests.support.dockerfile import parse
from tests.support.written_docs import check_command

from dynamirror.cli.run import run

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deploy/ecs/service.yaml").read_text(encoding="utf-8")
TEMPLATE: Any = msgspec.yaml.decode(TEXT)
RESOURCES = TEMPLATE["Resources"]
(CONTAINER,) = RESOURCES["TaskDefinition"]["Properties"]["ContainerDefinitions"]
IMAGE = {
    step.name: step
    for step in parse((ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8"))
}


def test_cfn_lint_finds_nothing() -> None:
    found = cfnlint.lint(TEXT, config=ManualArgs(regions=["eu-west-1", "us-east-1"]))
    assert "\n".join(map(str, found)) == ""


def statements(role: str) -> list[Any]:
    """Return what a role may do."""
    (policy,) = RESOURCES[role]["Properties"]["Policies"]
    return list(policy["PolicyDocument"]["Statement"])


def actions(role: str) -> set[str]:
    """Return the actions of a role."""
    found = (statement["Action"] for statement in statements(role))
    return {
        action for each in found for action in ([each] if isinstance(each, str) else list(each))
    }


def test_the_process_may_make_the_calls_that_its_code_makes_and_connect_to_the_cache() -> None:
    sources = (ROOT / "src/dynamirror/dynamodb").glob("*.py")
    calls = {
        name
        for path in sources
        for name in re.findall(r"client\.([a-z_]+)\(", path.read_text(encoding="utf-8"))
    }
    words = {f"dynamodb:{call.title().replace('_', '')}" for call in calls}
    assert len(words) > 5
    assert actions("TaskRole") == words | {"elasticache:Connect"}


@pytest.mark.parametrize("role", ["TaskRole", "ExecutionRole"])
def test_every_right_names_what_it_is_for(role: str) -> None:
    wide = {str(each["Action"]) for each in statements(role) if each["Resource"] == "*"}
    # ECR gives its token for all repositories only.
    assert wide == ({"ecr:GetAuthorizationToken"} if role == "ExecutionRole" else set())
    assert not [action for action in actions(role) if "*" in action]


def test_the_container_runs_as_the_image_does_and_writes_nothing() -> None:
    assert [word for word in CONTAINER["Command"] if word != "--ha"] == IMAGE["CMD"].words
    assert "--ha" in CONTAINER["Command"]
    assert check_command(["dynamirror", *CONTAINER["Command"]]) == []
    assert CONTAINER["User"] == IMAGE["USER"].text
    health = msgspec.json.decode(IMAGE["HEALTHCHECK"].text.removeprefix("CMD "))
    assert CONTAINER["HealthCheck"]["Command"] == ["CMD", *health]
    assert CONTAINER["ReadonlyRootFilesystem"] is True
    assert CONTAINER["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    ports = [str(mapping["ContainerPort"]) for mapping in CONTAINER["PortMappings"]]
    assert " ".join(ports) == IMAGE["EXPOSE"].text


def test_the_container_has_time_to_finish_its_batches_and_no_secret_in_its_environment() -> None:
    assert CONTAINER["StopTimeout"] > inspect.signature(run).parameters["drain"].default
    names = {variable["Name"] for variable in CONTAINER["Environment"]}
    known = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in known] == []
    assert not [name for name in names if "PASSWORD" in name or "SECRET" in name]
    assert "Secrets" not in CONTAINER


def test_nobody_opens_connections_to_the_tasks() -> None:
    group = RESOURCES["TaskSecurityGroup"]["Properties"]
    assert "SecurityGroupIngress" not in group
    assert {rule["IpProtocol"] for rule in group["SecurityGroupEgress"]} == {"tcp"}
