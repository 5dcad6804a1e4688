"""The ECS service: valid, with the least rights, and true of the image."""

import inspect
import re
import shlex
from math import ceil, floor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cfnlint import api as cfnlint
from cfnlint.config import ManualArgs
from tests.support.dockerfile import parse
from tests.support.emulated_account import EmulatedAccount
from tests.support.written_docs import blocks, check_command

from dynamirror.cli.run import run
from dynamirror.emulators.dynamodb import REGION

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


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_a_deployment_has_room_for_a_new_task_or_may_end_an_old_one(tasks: int) -> None:
    limits = RESOURCES["Service"]["Properties"]["DeploymentConfiguration"]
    least = ceil(tasks * limits["MinimumHealthyPercent"] / 100)
    most = floor(tasks * limits["MaximumPercent"] / 100)
    assert least < most


def test_only_tables_with_keys_of_their_own_need_a_right_to_decrypt() -> None:
    policy = RESOURCES["TableKeys"]
    assert policy["Condition"] == "HasTableKeys"
    assert TEMPLATE["Parameters"]["TableKeyArns"]["Default"] == ""
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "kms:Decrypt"
    assert statement["Resource"] == {"Fn::Split": [",", {"Ref": "TableKeyArns"}]}
    assert statement["Condition"] == {"StringLike": {"kms:ViaService": "dynamodb.*"}}


def test_nobody_opens_connections_to_the_tasks() -> None:
    group = RESOURCES["TaskSecurityGroup"]["Properties"]
    assert "SecurityGroupIngress" not in group
    assert {rule["IpProtocol"] for rule in group["SecurityGroupEgress"]} == {"tcp"}


def test_the_page_s_command_deploys_it(account: EmulatedAccount) -> None:
    (command,) = (
        line
        for block in blocks((ROOT / "docs/ecs.md").read_text(encoding="utf-8"))
        for line in block.text.replace("\\\n", " ").splitlines()
        if "--parameter-overrides" in line
    )
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="cache", Description="cache", VpcId=vpc)["GroupId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"]
        for number in (1, 2)
    ]
    cluster = account.client("ecs").create_cluster(clusterName="CLUSTER")["cluster"]
    words = {
        "REGION": REGION,
        "ACCOUNT": "000000000000",
        "sg-1": group,
        "vpc-1": vpc,
        "subnet-1": subnets[0],
        "subnet-2": subnets[1],
    }
    text = re.sub("|".join(words), lambda match: words[match[0]], command)
    given = dict(word.split("=", 1) for word in shlex.split(text.partition("overrides ")[2]))
    # The emulator takes a number for text if a parameter has it.
    template = TEXT.replace("DesiredCount:\n        Ref: Tasks", "DesiredCount: 2")
    resources = account.deploy("service", template, parameters=given)
    (service,) = account.client("ecs").describe_services(
        cluster=cluster["clusterArn"], services=[resources["Service"]]
    )["services"]
    assert service["desiredCount"] == 2
    network = service["networkConfiguration"]["awsvpcConfiguration"]
    assert network["assignPublicIp"] == "DISABLED"
    assert network["securityGroups"] == [resources["TaskSecurityGroup"]]
    assert set(network["subnets"]) == set(subnets)
    assert "TableKeys" not in resources
    keys = [f"arn:aws:kms:{REGION}:000000000000:key/{number}" for number in (1, 2)]
    text = TEMPLATE["Parameters"]["TableKeyArns"]["AllowedPattern"]
    assert re.fullmatch(text, ",".join(keys))
    resources = account.deploy(
        "service", template, parameters={**given, "TableKeyArns": ",".join(keys)}
    )
    assert "TableKeys" in resources
