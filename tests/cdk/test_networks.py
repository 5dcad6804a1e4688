"""The networks that a `mirror.toml` describes: an existing VPC, or none."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk.assertions import Annotations, Match, Template
from tests.support.templates import Synth, functions, make_stack, resources, statements

from dynamirror.errors import ConfigError
from dynamirror.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples/deployments"
VPC = "vpc-0123abcd"
PARTIAL = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:cache"
LOOKUP = (
    "vpc-provider:account=123456789012:filter.vpc-id=vpc-0123abcd:region=eu-west-1:"
    "returnAsymmetricSubnets=true"
)
MIRROR = '[mirror]\nname = "m"\n[[table]]\nname = "orders"\nkeys = { id = "S" }\ncreate = true\n'


@pytest.fixture
def existing(synth: Synth) -> Template:
    """Return the template of the example with a cache of nodes in their VPC."""
    return synth(config=str(EXAMPLES / "node-cache.toml"))


@pytest.fixture
def without(synth: Synth) -> Template:
    """Return the template of the example without a VPC."""
    return synth(config=str(EXAMPLES / "no-vpc.toml"))


def of_cache(template: Template) -> dict[str, dict[str, Any]]:
    """Return the functions that use the cache."""
    return {
        handler: function
        for handler, function in functions(template).items()
        if "ELASTICACHE_HOST" in function["Environment"]["Variables"]
    }


def test_the_functions_run_in_the_subnets_that_the_file_names(existing: Template) -> None:
    for kind in ("VPC", "Subnet", "VPCEndpoint", "NatGateway"):
        existing.resource_count_is(f"AWS::EC2::{kind}", 0)
    assert len(of_cache(existing)) == 4
    for function in of_cache(existing).values():
        assert function["VpcConfig"]["SubnetIds"] == [
            "subnet-0a1b2c3d4e5f60718",
            "subnet-1a1b2c3d4e5f60718",
        ]


def test_an_existing_cache_is_used_with_the_password_that_the_functions_may_read(
    existing: Template,
) -> None:
    for kind in ("ServerlessCache", "ReplicationGroup", "User", "UserGroup"):
        existing.resource_count_is(f"AWS::ElastiCache::{kind}", 0)
    for function in of_cache(existing).values():
        variables = function["Environment"]["Variables"]
        settings = Settings.from_env(
            {name: value for name, value in variables.items() if isinstance(value, str)}
        )
        assert settings.kind == "node-based"
        assert settings.user == "orders-mirror"
        assert settings.secret_arn is not None
        assert settings.iam_cache is None
        assert settings.authorities == "amazon"
    readers = [
        policy
        for policy in resources(existing, "AWS::IAM::Policy")
        if "secretsmanager:GetSecretValue" in json.dumps(policy)
    ]
    assert len(readers) == len(of_cache(existing))
    assert all("kms:Decrypt" in json.dumps(policy) for policy in readers)
    # Metrics of a serverless cache are not those of nodes.
    assert "clusterId" not in json.dumps(existing.to_json())


def test_applications_are_admitted_to_an_existing_cache(existing: Template) -> None:
    rules = resources(existing, "AWS::EC2::SecurityGroupIngress")
    assert {rule["GroupId"] for rule in rules} == {"sg-0a1b2c3d4e5f60718"}
    assert {(rule["FromPort"], rule["ToPort"]) for rule in rules} == {(6379, 6379)}
    sources = [rule.get("SourceSecurityGroupId") or rule["CidrIp"] for rule in rules]
    assert "sg-1a1b2c3d4e5f60718" in sources
    assert "10.20.0.0/16" in sources
    assert len(sources) == 4  # and the two groups of the functions
    # The application's own group stays as it is.
    for rule in resources(existing, "AWS::EC2::SecurityGroupEgress"):
        assert rule["GroupId"] != "sg-1a1b2c3d4e5f60718"


def test_without_a_vpc_the_cache_is_public_and_no_function_has_an_interface(
    without: Template,
) -> None:
    assert not without.find_resources("AWS::EC2::*")
    assert not [
        kind["Type"]
        for kind in without.to_json()["Resources"].values()
        if kind["Type"].startswith("AWS::EC2::")
    ]
    (cache,) = resources(without, "AWS::ElastiCache::ServerlessCache")
    assert cache["ConnectionType"] == "public"
    for function in functions(without).values():
        assert "VpcConfig" not in function
    assert not [s for s in statements(without) if "ec2:" in json.dumps(s["Action"])]
    for function in of_cache(without).values():
        variables = function["Environment"]["Variables"]
        assert variables["ELASTICACHE_NAME"] == cache["ServerlessCacheName"]
        assert variables["ELASTICACHE_TLS"] == "true"
    assert "VpcId" not in without.find_outputs("*")
    assert "ReaderPolicyArn" in without.find_outputs("*")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what CDK's command line sets when there are credentials."""
    monkeypatch.setenv("CDK_DEFAULT_ACCOUNT", "123456789012")
    monkeypatch.setenv("CDK_DEFAULT_REGION", "eu-west-1")


def looked_up(*kinds: str) -> dict[str, Any]:
    """Return what CDK looks up about a VPC that has subnets of some kinds in two zones."""
    return {
        "vpcId": VPC,
        "vpcCidrBlock": "10.0.0.0/16",
        "ownerAccountId": "123456789012",
        "availabilityZones": [],
        "subnetGroups": [
            {
                "name": kind,
                "type": kind,
                "subnets": [
                    {
                        "subnetId": f"subnet-{kind}-{zone}",
                        "cidr": "10.0.0.0/24",
                        "availabilityZone": f"eu-west-1{zone}",
                        "routeTableId": f"rtb-{kind}",
                    }
                    for zone in "ab"
                ],
            }
            for kind in kinds
        ],
    }


def subnets_of(stack: Stack) -> list[str]:
    """Return the subnets of the cache, which are those of the functions."""
    template = Template.from_stack(stack)
    (cache,) = resources(template, "AWS::ElastiCache::ServerlessCache")
    for function in of_cache(template).values():
        assert function["VpcConfig"]["SubnetIds"] == cache["SubnetIds"]
    return list(cache["SubnetIds"])


@pytest.mark.usefixtures("account")
def test_subnets_that_are_looked_up_have_a_nat_if_there_is_one() -> None:
    context: dict[str, Any] = {LOOKUP: looked_up("Isolated", "Private", "Public"), "vpcId": VPC}
    _app, stack = make_stack(**context)
    assert subnets_of(stack) == ["subnet-Private-a", "subnet-Private-b"]


@pytest.mark.usefixtures("account")
def test_isolated_subnets_that_are_looked_up_come_with_a_warning() -> None:
    context: dict[str, Any] = {LOOKUP: looked_up("Isolated", "Public"), "vpcId": VPC}
    _app, stack = make_stack(**context)
    assert subnets_of(stack) == ["subnet-Isolated-a", "subnet-Isolated-b"]
    Annotations.from_stack(stack).has_warning(
        "*", Match.string_like_regexp("need a gateway endpoint for DynamoDB")
    )


def test_a_lookup_without_credentials_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CDK_DEFAULT_ACCOUNT", raising=False)
    with pytest.raises(ConfigError, match=r"^context: network.subnet_ids: [^\n]+set subnet_ids"):
        make_stack(vpcId=VPC)


@pytest.mark.usefixtures("account")
def test_a_new_vpc_has_three_zones_if_asked_to() -> None:
    assert len(subnets_of(make_stack(maxAzs="3")[1])) == 3


def test_three_zones_are_refused_where_the_region_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CDK would silently take two."""
    monkeypatch.delenv("CDK_DEFAULT_ACCOUNT", raising=False)
    with pytest.raises(ConfigError, match=r"^context: network.max_azs: [^\n]+set max_azs to 2"):
        make_stack(maxAzs="3")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[cache.existing]\nname = "c"\nhost = "h"\n',
            "network.vpc_id: is missing; set it to the VPC of the existing cache",
        ),
        (
            '[cache]\nkind = "node-based"\n[network]\npublic = true\n',
            "network.public: applies only to serverless caches",
        ),
        (
            '[network]\npublic = true\ncidrs = ["10.0.0.0/16"]\n',
            "network: `public` needs no VPC, and so excludes",
        ),
        (
            f'[cache.existing]\nname = "c"\nhost = "h"\nuser = "u"\nsecret_arn = "{PARTIAL}"\n',
            "cache.existing.secret_arn: must be an ARN like arn:aws:secretsm",
        ),
        ('[cache]\nengine_version = "9.1"\n', "cache.engine_version: a serverless cache takes a "),
        (
            '[network]\nmax_azs = 1\n[cache]\nkind = "node-based"\n',
            "cache.replicas: need subnets in two zones; add a subnet",
        ),
    ],
    ids=["vpc", "public nodes", "public addresses", "secret", "version", "zones"],
)
def test_a_cache_and_a_network_that_do_not_fit_are_refused_in_one_sentence(
    text: str, sentence: str, tmp_path: Path
) -> None:
    config = tmp_path / "mirror.toml"
    config.write_text(MIRROR + text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{config}: {sentence}')}[^\n]*$"):
        make_stack(config=str(config))
