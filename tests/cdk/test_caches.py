"""Caches of each kind as constructs: users, rights, security groups and what is refused."""

import json
import re
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Template
from tests.support.templates import KEY_ARN, TABLE_ARN, as_list, resources, statements

from dynamirror.cache.acl import Role
from dynamirror.cdk import Cache, ExistingCache, MirrorCache, Network, NodeCache
from dynamirror.errors import ConfigError

SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:cache-AbCdEf"
PATTERNS: dict[str, Any] = {"key_patterns": ("orders:*",), "table_names": ("orders",)}


@pytest.fixture
def stack() -> Stack:
    """Return an empty stack."""
    return Stack(App(), "Theirs")


def users_of(template: Template) -> dict[str, dict[str, Any]]:
    """Return the users by the first part of their names."""
    users = resources(template, "AWS::ElastiCache::User")
    return {user["UserName"].partition("-")[0]: user for user in users}


def rules(template: Template, kind: str) -> set[tuple[str, str, int, int]]:
    """Return the rules between security groups: from or to which, of which, and the ports."""
    side = "SourceSecurityGroupId" if kind == "Ingress" else "DestinationSecurityGroupId"
    return {
        (
            re.sub(r"[0-9A-F]{8}$", "", str(as_list(rule[side]["Fn::GetAtt"])[0]))
            if isinstance(rule[side], dict)
            else rule[side],
            re.sub(r"[0-9A-F]{8}$", "", rule["GroupId"]["Fn::GetAtt"][0])
            if isinstance(rule["GroupId"], dict)
            else rule["GroupId"],
            rule["FromPort"],
            rule["ToPort"],
        )
        for rule in resources(template, f"AWS::EC2::SecurityGroup{kind}")
        if side in rule
    }


@pytest.mark.parametrize("kind", ["serverless", "node-based"])
def test_each_role_is_a_user_of_one_group_that_has_no_default_user(kind: str, stack: Stack) -> None:
    network = Network(stack, "Network")
    cache: MirrorCache
    if kind == "serverless":
        cache = Cache(stack, "Cache", network=network, **PATTERNS)
    else:
        cache = NodeCache(stack, "Cache", network=network, **PATTERNS)
    role = iam.Role(stack, "Application", assumed_by=iam.AccountRootPrincipal())
    cache.grant_connect(role)
    policy = cache.reader_policy
    assert policy is cache.reader_policy
    template = Template.from_stack(stack)
    users = users_of(template)
    assert set(users) == {"user", "operator", "auditor", "canary", "inspector", "reader"}
    assert len({cache.endpoint(role_).user for role_ in Role}) == len(Role)
    for user in users.values():
        assert user["UserId"] == user["UserName"]
        assert len(user["UserId"]) <= 40
        assert user["AuthenticationMode"] == {"Type": "iam"}
        assert "-@all" in user["AccessString"]
    (group,) = resources(template, "AWS::ElastiCache::UserGroup")
    assert len(group["UserIds"]) == len(Role)
    # The application's role and the managed policy allow the same: to be the reader.
    (granted,) = (s for s in statements(template) if s["Action"] == "elasticache:Connect")
    (managed,) = resources(template, "AWS::IAM::ManagedPolicy")
    assert managed["PolicyDocument"]["Statement"] == [granted]
    text = json.dumps(granted["Resource"])
    assert users["reader"]["UserId"] in text
    assert ("replicationgroup" in text) == (kind == "node-based")


def test_a_serverless_cache_takes_version_limits_and_key(stack: Stack) -> None:
    Cache(
        stack,
        "Cache",
        network=Network(stack, "Network"),
        max_storage_gb=10,
        max_ecpu=50_000,
        min_ecpu=5_000,
        encryption_key=kms.Key.from_key_arn(stack, "Key", KEY_ARN),
        **PATTERNS,
    )
    (cache,) = resources(Template.from_stack(stack), "AWS::ElastiCache::ServerlessCache")
    assert cache["MajorEngineVersion"] == "9"
    assert cache["KmsKeyId"] == KEY_ARN
    assert cache["CacheUsageLimits"] == {
        "DataStorage": {"Maximum": 10, "Unit": "GB"},
        "ECPUPerSecond": {"Maximum": 50_000, "Minimum": 5_000},
    }
    assert "ConnectionType" not in cache


def test_a_public_cache_has_no_vpc_and_only_iam_users(stack: Stack) -> None:
    cache = Cache(stack, "Cache", network=None, **PATTERNS)
    assert not cache.connections.security_groups
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::EC2::VPC", 0)
    template.resource_count_is("AWS::EC2::SecurityGroup", 0)
    (resource,) = resources(template, "AWS::ElastiCache::ServerlessCache")
    assert resource["ConnectionType"] == "public"
    assert not {"SubnetIds", "SecurityGroupIds"} & set(resource)
    modes = [user["AuthenticationMode"] for user in users_of(template).values()]
    assert modes == [{"Type": "iam"}] * len(Role)


def test_a_cache_of_nodes_is_a_cluster_that_never_evicts_and_fails_over(stack: Stack) -> None:
    NodeCache(
        stack,
        "Cache",
        network=Network(stack, "Network"),
        shards=3,
        replicas=2,
        durability="sync",
        **PATTERNS,
    )
    template = Template.from_stack(stack)
    template.has_resource_properties(
        "AWS::ElastiCache::ReplicationGroup",
        {
            "Engine": "valkey",
            "EngineVersion": "9.1",
            "ClusterMode": "enabled",
            "NumNodeGroups": 3,
            "ReplicasPerNodeGroup": 2,
            "AutomaticFailoverEnabled": True,
            "MultiAZEnabled": True,
            "TransitEncryptionEnabled": True,
            "AtRestEncryptionEnabled": True,
            "Durability": "sync",
        },
    )
    template.has_resource_properties(
        "AWS::ElastiCache::ParameterGroup",
        {
            "CacheParameterGroupFamily": "valkey9",
            "Properties": {"cluster-enabled": "yes", "maxmemory-policy": "noeviction"},
        },
    )
    (subnets,) = resources(template, "AWS::ElastiCache::SubnetGroup")
    assert len(subnets["SubnetIds"]) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"durability": "sync", "replicas": 0},
            "cache: durability: sync needs at least one replica",
        ),
        (
            {"durability": "async", "engine_version": "8.2"},
            "cache: durability: async needs Valkey 9",
        ),
        (
            {"durability": "sync", "node_type": "cache.t4g.micro"},
            "cache: durability: sync needs nodes of the families r8g",
        ),
        ({"engine_version": "9"}, "cache: engine_version: a cache of nodes takes a version as in"),
        ({"engine_version": "6.2"}, "cache: engine_version: IAM authentication needs Valkey 7"),
    ],
)
def test_nodes_that_elasticache_would_refuse_are_refused_at_synth(
    options: dict[str, Any], sentence: str, stack: Stack
) -> None:
    network = Network(stack, "Network")
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}[^\n]*$"):
        NodeCache(stack, "Cache", network=network, **PATTERNS, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine_version": "9.1"}, "cache: engine_version: a serverless cache takes a major"),
        ({"engine_version": "8"}, "cache: engine_version: a public cache needs Valkey 9"),
        ({"min_ecpu": 2_000, "max_ecpu": 1_000}, "cache: min_ecpu: 2000 exceeds max_ecpu"),
    ],
)
def test_a_serverless_cache_that_elasticache_would_refuse_is_refused_at_synth(
    options: dict[str, Any], sentence: str, stack: Stack
) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}[^\n]*$"):
        Cache(stack, "Cache", network=None, **PATTERNS, **options)


def test_replicas_need_two_zones(stack: Stack) -> None:
    network = Network(stack, "Network", max_azs=1)
    with pytest.raises(ConfigError, match=r"^cache: replicas: need subnets in two zones[^\n]+$"):
        NodeCache(stack, "Cache", network=network, **PATTERNS)
    NodeCache(stack, "Alone", network=network, replicas=0, **PATTERNS)
    (group,) = resources(Template.from_stack(stack), "AWS::ElastiCache::ReplicationGroup")
    assert group["MultiAZEnabled"] is False


def test_a_client_is_admitted_as_with_other_constructs(stack: Stack) -> None:
    network = Network(stack, "Network")
    cache = Cache(stack, "Cache", network=network, **PATTERNS)
    ours = ec2.SecurityGroup(stack, "Ours", vpc=network.vpc, allow_all_outbound=False)
    ours.connections.allow_to_default_port(cache)
    template = Template.from_stack(stack)
    ports = (6379, 6380)
    clients = {"NetworkReplicatorSecurityGroup", "NetworkOperatorSecurityGroup", "Ours"}
    assert rules(template, "Ingress") == {
        (client, "NetworkCacheSecurityGroup", *ports) for client in clients
    }
    assert rules(template, "Egress") == {
        ("NetworkCacheSecurityGroup", client, *ports) for client in clients
    }


def test_an_existing_cache_admits_the_functions_and_needs_no_rules_by_hand(stack: Stack) -> None:
    network = Network(stack, "Network")
    cache = ExistingCache.from_attributes(
        stack,
        "Cache",
        name="orders-cache",
        host="master.orders-cache.x.euw1.cache.amazonaws.com",
        kind="node-based",
        network=network,
        security_group=ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-0123abcd"),
        user="mirror",
        reader_user="app",
    )
    role = iam.Role(stack, "Application", assumed_by=iam.AccountRootPrincipal())
    cache.grant_connect(role)
    template = Template.from_stack(stack)
    clients = {"NetworkReplicatorSecurityGroup", "NetworkOperatorSecurityGroup"}
    assert rules(template, "Ingress") == {(name, "sg-0123abcd", 6379, 6379) for name in clients}
    assert rules(template, "Egress") == {("sg-0123abcd", name, 6379, 6379) for name in clients}
    # No group for a cache that is there already.
    assert len(resources(template, "AWS::EC2::SecurityGroup")) == 2
    (statement,) = statements(template)
    text = json.dumps(statement["Resource"])
    assert ":replicationgroup:orders-cache" in text
    assert ":user:app" in text
    assert cache.endpoint("replicator").trusted == "amazon"


def test_without_its_group_the_functions_may_leave_for_the_port_of_an_existing_cache(
    stack: Stack,
) -> None:
    network = Network(stack, "Network")
    cache = ExistingCache.from_attributes(
        stack, "Cache", name="c", host="cache.example.com", port=7000, network=network, tls=False
    )
    assert cache.endpoint("reader").iam_cache is None
    assert cache.reader_policy is None
    template = Template.from_stack(stack)
    egress = [
        (rule["CidrIp"], rule["FromPort"])
        for group in resources(template, "AWS::EC2::SecurityGroup")
        for rule in group["SecurityGroupEgress"]
    ]
    assert sorted(egress) == [("0.0.0.0/0", 443), *[("0.0.0.0/0", 7000)] * 2]


def test_a_password_is_read_by_the_functions_and_stands_in_no_template(stack: Stack) -> None:
    network = Network(stack, "Network")
    secret = secretsmanager.Secret.from_secret_complete_arn(stack, "Secret", SECRET_ARN)
    cache = ExistingCache.from_attributes(
        stack, "Cache", name="c", host="cache", network=network, user="mirror", secret=secret
    )
    role = iam.Role(stack, "Function", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    cache.grant_connect(role, "replicator")
    assert cache.endpoint("operator").iam_cache is None
    template = Template.from_stack(stack)
    (statement,) = statements(template)
    assert "secretsmanager:GetSecretValue" in statement["Action"]
    assert statement["Resource"] == SECRET_ARN
    for group in resources(template, "AWS::EC2::SecurityGroup"):
        assert 443 in {rule["FromPort"] for rule in group["SecurityGroupEgress"]}


def test_the_endpoint_of_a_new_vpc_leads_to_the_mirrored_tables_only(stack: Stack) -> None:
    network = Network(stack, "Network")
    orders = dynamodb.Table.from_table_arn(stack, "Orders", TABLE_ARN)
    users = dynamodb.Table.from_table_arn(stack, "Users", TABLE_ARN.replace("orders", "users"))
    network.limit_dynamodb([orders, users], written=[users])
    (endpoint,) = resources(Template.from_stack(stack), "AWS::EC2::VPCEndpoint")
    reads, queries, writes = endpoint["PolicyDocument"]["Statement"]
    assert reads["Resource"] == [orders.table_arn, users.table_arn]
    assert queries["Action"] == "dynamodb:Query"
    assert queries["Resource"] == [f"{arn}/index/*" for arn in reads["Resource"]]
    assert writes["Action"] == "dynamodb:PutItem"
    assert writes["Resource"] == users.table_arn
    assert not any("*" in action for action in reads["Action"])
    assert "dynamodb:DeleteItem" not in reads["Action"]


def test_egress_may_be_limited_to_the_prefix_list_of_dynamodb(stack: Stack) -> None:
    prefix_list = ec2.PrefixList.from_prefix_list_id(stack, "DynamoDb", "pl-0123abcd")
    Network(stack, "Network", dynamodb_prefix_list=prefix_list)
    template = Template.from_stack(stack)
    text = json.dumps(template.to_json())
    assert "pl-0123abcd" in text
    assert "0.0.0.0/0" not in text


def test_subnets_with_nat_come_before_isolated_ones(stack: Stack) -> None:
    vpc = ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-0123abcd",
        availability_zones=["a", "b"],
        private_subnet_ids=["subnet-a1", "subnet-b1"],
        isolated_subnet_ids=["subnet-a2", "subnet-b2"],
    )
    network = Network(stack, "Network", vpc=vpc)
    assert network.one_subnet_per_zone() == ["subnet-a1", "subnet-b1"]
    chosen = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
    other = Network(stack, "Other", vpc=vpc, vpc_subnets=chosen)
    assert other.one_subnet_per_zone() == ["subnet-a2", "subnet-b2"]


def test_a_cache_has_metrics(stack: Stack) -> None:
    cache = Cache(stack, "Cache", network=None, **PATTERNS)
    for metric in (
        cache.metric("ThrottledCmds", statistic="Sum"),
        cache.metric_bytes_used(),
        cache.metric_processing_units(),
        cache.metric_evictions(),
    ):
        assert metric.namespace == "AWS/ElastiCache"
        assert metric.dimensions == {"clusterId": cache.name}
