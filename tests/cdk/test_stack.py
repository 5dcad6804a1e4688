"""The stack: its parts, and their rights."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk.assertions import Match, Template
from cdk_nag import AwsSolutionsChecks
from tests.support.aws_rights import CALLS
from tests.support.templates import (
    EXISTING,
    STREAM_ARN,
    TABLE_ARN,
    Synth,
    allowed_actions,
    as_list,
    functions,
    make_stack,
    resources,
    statements,
)

from dynamirror.cache.acl import COMMANDS, Role, access_string
from dynamirror.cache.client import Cache as CacheClient
from dynamirror.cdk import (
    Cache,
    CacheEndpoint,
    ExistingCache,
    LambdaCode,
    Mirror,
    MirroredTable,
    Network,
)
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_table_has_a_stream_with_both_images(template: Template) -> None:
    template.has_resource_properties(
        "AWS::DynamoDB::Table",
        {
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
            "BillingMode": "PAY_PER_REQUEST",
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        },
    )


def test_the_mapping_keeps_order_and_never_drops_a_batch(template: Template) -> None:
    (mapping,) = resources(template, "AWS::Lambda::EventSourceMapping")
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["BatchSize"] == 1000
    assert mapping["ParallelizationFactor"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    # No limit is -1, or no property at all.
    assert mapping.get("MaximumRetryAttempts", -1) == -1
    assert mapping.get("MaximumRecordAgeInSeconds", -1) == -1
    assert "DestinationConfig" not in mapping


@pytest.mark.parametrize("size", ["1", "10000"])
def test_batches_may_be_as_large_as_the_service_allows(synth: Synth, size: str) -> None:
    (mapping,) = resources(synth(batchSize=size), "AWS::Lambda::EventSourceMapping")
    assert mapping["BatchSize"] == int(size)


def test_the_cache_is_serverless_valkey_and_admits_only_iam_users_of_least_privilege(
    template: Template,
) -> None:
    (cache,) = resources(template, "AWS::ElastiCache::ServerlessCache")
    assert cache["Engine"] == "valkey"
    assert cache["UserGroupId"]
    assert cache["CacheUsageLimits"] == {"DataStorage": {"Maximum": 5, "Unit": "GB"}}
    users = resources(template, "AWS::ElastiCache::User")
    for user in users:
        assert user["UserId"] == user["UserName"]
        assert user["AuthenticationMode"] == {"Type": "iam"}
    for role, user in zip(Role, users, strict=True):
        access = json.dumps(user["AccessString"])
        assert "-@all" in access
        assert "~*" not in access
        assert set(re.findall(r"\+([a-z|]+)", access)) == COMMANDS[role]


def test_the_replicator_knows_the_cache_by_the_settings_it_reads(template: Template) -> None:
    function = functions(template)["dynamirror.handler.handler"]
    variables = function["Environment"]["Variables"]
    (cache_id,) = template.find_resources("AWS::ElastiCache::ServerlessCache")
    assert variables["ELASTICACHE_HOST"] == {"Fn::GetAtt": [cache_id, "Endpoint.Address"]}
    plain = {name: value if isinstance(value, str) else "x" for name, value in variables.items()}
    settings = Settings.from_env({**plain, "AWS_REGION": "eu-west-1"})
    assert (settings.tls, settings.port, settings.key_schema) == (True, 6379, "id")
    user, *_others = resources(template, "AWS::ElastiCache::User")
    (cache,) = resources(template, "AWS::ElastiCache::ServerlessCache")
    assert settings.user == user["UserName"]
    assert settings.iam_cache == cache["ServerlessCacheName"]
    assert settings.kind == "serverless"
    assert len(cache["ServerlessCacheName"]) <= 40
    assert settings.authorities == "amazon"
    assert settings.config is None


def test_every_function_reads_packaged_views_that_need_no_toml_parser(
    tmp_path: Path, synth: Synth
) -> None:
    config = tmp_path / "mirror.toml"
    config.write_text('[[view]]\nkey = "user:{id}"\n', encoding="utf-8")
    environments = [
        function["Environment"]["Variables"]
        for function in functions(synth(config=str(config))).values()
    ]
    of_cache = [names for names in environments if "ELASTICACHE_HOST" in names]
    assert len(of_cache) > 1
    assert {names["DYNAMIRROR_CONFIG"] for names in of_cache} == {"mirror.json"}


def test_the_functions_trust_the_system_s_authorities_if_asked_to(synth: Synth) -> None:
    trusted = {
        function["Environment"]["Variables"].get("ELASTICACHE_CA")
        for function in functions(synth(cacheAuthorities="system")).values()
    }
    assert trusted == {None, "system"}  # the simulator knows no cache


@pytest.mark.parametrize(
    ("endpoint", "trusted"),
    [
        (CacheEndpoint(host="clustercfg.c.abcdef.euw1.cache.amazonaws.com"), "amazon"),
        (CacheEndpoint(host="c.abcdef.cache.cn-north-1.amazonaws.com.cn"), "system"),
        (CacheEndpoint(host="cache.example.com"), "system"),
        (CacheEndpoint(host="cache.amazonaws.com.example.com"), "system"),
        (CacheEndpoint(host="cache.example.com", authorities="amazon"), "amazon"),
        (CacheEndpoint(host="c.x.cache.amazonaws.com", authorities="system"), "system"),
    ],
)
def test_an_existing_cache_is_trusted_by_amazon_s_roots_only_if_it_is_elasticache_s(
    endpoint: CacheEndpoint, trusted: str
) -> None:
    assert endpoint.trusted == trusted


def test_each_function_connects_as_its_own_user_and_may_be_no_other(template: Template) -> None:
    users = dict(zip(Role, resources(template, "AWS::ElastiCache::User"), strict=True))
    roles = {
        "dynamirror.handler.handler": Role.REPLICATOR,
        "dynamirror.functions.operator.handler": Role.OPERATOR,
        "dynamirror.functions.worker.handler": Role.OPERATOR,
        "dynamirror.functions.auditor.handler": Role.AUDITOR,
        "dynamirror.functions.canary.handler": Role.CANARY,
    }
    ours = functions(template)
    policies = {
        reference["Ref"]: json.dumps(
            [
                s
                for s in policy["PolicyDocument"]["Statement"]
                if "elasticache:Connect" in s["Action"]
            ]
        )
        for policy in resources(template, "AWS::IAM::Policy")
        for reference in policy["Roles"]
    }
    for handler, role in roles.items():
        variables = ours[handler]["Environment"]["Variables"]
        assert variables["ELASTICACHE_USER"] == users[role]["UserName"]
        allowed = policies[ours[handler]["Role"]["Fn::GetAtt"][0]]
        for user in users.values():
            assert (f":user:{user['UserName']}" in allowed) == (user is users[role])


def test_the_replicator_may_read_the_stream_and_not_the_table(template: Template) -> None:
    allowed = {
        action: resources
        for action, resources in allowed_actions(template, "MirrorRole").items()
        if action.startswith("dynamodb:")
    }
    stream = {f"dynamodb:{call}" for call in ("DescribeStream", "GetRecords", "GetShardIterator")}
    assert set(allowed) == CALLS["replicator"] | stream | {"dynamodb:ListStreams"}
    assert {resource["Fn::GetAtt"][1] for action in stream for resource in allowed[action]} == {
        "StreamArn"
    }


def test_the_gateway_endpoint_leads_to_the_mirrored_table_only(template: Template) -> None:
    (endpoint,) = resources(template, "AWS::EC2::VPCEndpoint")
    (table_id,) = template.find_resources("AWS::DynamoDB::Table")
    arn = {"Fn::GetAtt": [table_id, "Arn"]}
    of_indexes = {"Fn::Join": ["", [arn, "/index/*"]]}
    for statement in endpoint["PolicyDocument"]["Statement"]:
        # Where the cache cannot answer, an application queries an index of the table itself.
        asks_indexes = statement["Action"] == "dynamodb:Query"
        assert statement["Resource"] == (of_indexes if asks_indexes else arn)
        assert not any("*" in action for action in as_list(statement["Action"]))


def test_only_functions_reach_the_cache_and_they_reach_only_cache_and_table(
    template: Template,
) -> None:
    template.resource_count_is("AWS::EC2::NatGateway", 0)
    template.resource_count_is("AWS::EC2::InternetGateway", 0)
    template.has_resource_properties("AWS::EC2::VPCEndpoint", {"VpcEndpointType": "Gateway"})
    for kind in ("Ingress", "Egress"):
        rules = resources(template, f"AWS::EC2::SecurityGroup{kind}")
        assert len(rules) == 2
        for rule in rules:
            assert (rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) == (6379, 6380, "tcp")
    groups = resources(template, "AWS::EC2::SecurityGroup")
    assert len(groups) == 3
    assert not any("SecurityGroupIngress" in group for group in groups)
    egress = {
        (rule["CidrIp"], rule.get("FromPort"))
        for group in groups
        for rule in group.get("SecurityGroupEgress", [])
        # CDK's placeholder for no address at all.
        if rule["CidrIp"] != "255.255.255.255/32"
    }
    # To the gateway endpoint of DynamoDB: the subnets route to nothing else.
    assert egress == {("0.0.0.0/0", 443)}


def test_statements_name_their_resources(template: Template) -> None:
    wide = {
        action
        for statement in statements(template)
        if "*" in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
    }
    delivery = {action for action in wide if action.startswith("logs:") and "Log" in action}
    network = {action for action in wide if action.startswith("ec2:")}
    policies = {"logs:PutResourcePolicy", "logs:DescribeResourcePolicies"}
    assert wide - delivery - network - policies == {"dynamodb:ListStreams"}
    assert not any(
        "*" in action
        for statement in statements(template)
        for action in as_list(statement["Action"])
    )


def test_the_simulator_writes_to_the_table_every_minute_and_may_do_nothing_more(
    template: Template,
) -> None:
    function = functions(template)["dynamirror.functions.simulator.handler"]
    assert function["Environment"]["Variables"]["CHANGES_COUNT"] == "10"
    assert "Ref" in function["Environment"]["Variables"]["DYNAMODB_TABLE"]
    (rule,) = (
        rule
        for rule in resources(template, "AWS::Events::Rule")
        if "ChangesSimulator" in json.dumps(rule["Targets"])
    )
    assert rule["ScheduleExpression"] == "rate(1 minute)"
    writes = [s for s in statements(template) if "dynamodb:DeleteItem" in as_list(s["Action"])]
    assert [sorted(s["Action"]) for s in writes] == [["dynamodb:DeleteItem", "dynamodb:PutItem"]]


def test_a_simulator_needs_a_table_whose_only_key_is_id_of_type_text(tmp_path: Path) -> None:
    config = tmp_path / "mirror.toml"
    table = '[[table]]\nname = "numbers"\nkeys = { id = "N" }\ncreate = true\n'
    config.write_text(f"{table}[simulator]\nenabled = true\n")
    with pytest.raises(ConfigError, match=r"mirror\.toml: simulator: needs a table whose only key"):
        make_stack(config=str(config))


def test_a_stack_of_too_many_resources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamirror.cdk.stack._MAX_RESOURCES", 50)
    with pytest.raises(ConfigError, match=r"1 tables needs \d+ resources, and may have 50; divide"):
        make_stack(**EXISTING)


def test_logs_are_kept_for_a_time(template: Template) -> None:
    for group in resources(template, "AWS::Logs::LogGroup"):
        assert group["RetentionInDays"]


def test_the_stack_has_outputs_for_its_parts(template: Template) -> None:
    outputs = {"Tables", "TableName", "StreamArn", "CacheEndpoint", "FunctionName", "LogGroup"}
    outputs |= {"CacheName", "CachePort", "CacheSecurityGroupId", "VpcId", "ReaderUser"}
    outputs |= {"ReaderPolicyArn", "MirrorIdentity"}
    outputs |= {"SimulatorName", "OperatorName", "StateMachineArn", "CanaryName", "DashboardName"}
    assert outputs == set(template.find_outputs("*"))


def test_an_existing_table_is_mirrored_and_not_changed(synth: Synth) -> None:
    template = synth(**EXISTING)
    template.resource_count_is("AWS::DynamoDB::Table", 0)
    assert "dynamirror.functions.simulator.handler" not in functions(template)
    template.has_resource_properties(
        "AWS::Lambda::EventSourceMapping", {"EventSourceArn": STREAM_ARN}
    )
    for role, user in zip(Role, resources(template, "AWS::ElastiCache::User"), strict=True):
        access = access_string(role, patterns=["orders:*"], tables=["orders"])
        assert user["AccessString"] == access
    environment = functions(template)["dynamirror.handler.handler"]["Environment"]["Variables"]
    assert environment["DYNAMIRROR_KEY_SCHEMA"] == "customer,order"


@pytest.mark.parametrize("template_key", ["{id}", "my[a]*:{id}", "users:{id}"])
def test_valkey_takes_the_access_strings_and_grants_just_the_keys_of_the_views(
    template_key: str, tmp_path: Path, synth: Synth, cache: CacheClient
) -> None:
    config = tmp_path / "mirror.toml"
    config.write_text(f'[[view]]\nkey = "{template_key}"\n', encoding="utf-8")
    template = synth(config=str(config), **(EXISTING | {"keys": "id"}))
    key = template_key.replace("{id}", "1")
    for role, user in zip(Role, resources(template, "AWS::ElastiCache::User"), strict=True):
        access = user["AccessString"]
        cache.broadcast(b"ACL", b"SETUSER", b"tried", b"reset", *access.split())
        reads = cache.broadcast(b"ACL", b"DRYRUN", b"tried", b"GET", key) == [b"OK"]
        assert reads == (role is not Role.CANARY)
        writes = cache.broadcast(b"ACL", b"DRYRUN", b"tried", b"SET", key, b"x") == [b"OK"]
        assert writes == ("+set" in access)
    cache.broadcast(b"ACL", b"DELUSER", b"tried")


def test_a_retained_table_outlives_the_stack(synth: Synth) -> None:
    template = synth(retain="true", deletionProtection="true")
    (table,) = template.find_resources("AWS::DynamoDB::Table").values()
    assert table["DeletionPolicy"] == "Retain"
    assert table["Properties"]["DeletionProtectionEnabled"] is True


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        ({"architecture": "vax"}, "context: architecture: must be arm64 or x86_64"),
        ({"cacheAuthorities": "x.pem"}, "context: cacheAuthorities: must be amazon or system"),
        ({"batchSize": "many"}, "context: batchSize: must be a whole number"),
        (
            {"maxBatchingWindow": "11"},
            "context: maxBatchingWindow: must be a whole number from 0 to",
        ),
        ({"logBatches": "some"}, "context: logBatches: must be true or false"),
        ({"retain": "maybe"}, "context: retain: must be true or false"),
        ({"batchSize": "10001"}, "context: batchSize: must be a whole number from 1 to 10000"),
        ({"tableArn": TABLE_ARN}, "context: tableArn needs streamArn and keys"),
        (
            EXISTING | {"streamArn": STREAM_ARN.replace("orders", "users")},
            f"context: streamArn: {STREAM_ARN.replace('orders', 'users')} is not a stream of",
        ),
        (
            EXISTING | {"viewType": "KEYS_ONLY"},
            "context: the stream of table orders has the view type",
        ),
        ({"config": "nowhere.toml"}, "nowhere.toml: cannot be read"),
        (
            EXISTING | {"config": str(ROOT / "examples/original/mirror.toml")},
            f"{ROOT / 'examples/original/mirror.toml'}: view default: key '{{id}}' leaves out",
        ),
    ],
    ids=[
        "architecture",
        "authorities",
        "number",
        "window",
        "batches",
        "flag",
        "range",
        "stream",
        "other",
        "type",
        "file",
        "view",
    ],
)
def test_a_wrong_option_is_one_sentence_at_synth(context: dict[str, str], sentence: str) -> None:
    with pytest.raises(DynamirrorError, match=f"^{re.escape(sentence)}[^\n]*$"):
        make_stack(**context)


def test_a_stream_that_cannot_feed_a_mirror_is_refused_at_synth(lambda_code: LambdaCode) -> None:
    stack = Stack(App(), "Theirs")
    table = dynamodb.Table.from_table_attributes(
        stack, "Table", table_arn=TABLE_ARN, table_stream_arn=STREAM_ARN
    )
    view_type = dynamodb.StreamViewType.KEYS_ONLY
    with pytest.raises(ConfigError, match="KEYS_ONLY"):
        Mirror(
            stack,
            "Mirror",
            tables=[MirroredTable(table=table, keys=("id",), view_type=view_type)],
            cache=ExistingCache.from_attributes(stack, "Cache", name="c", host="cache"),
            network=Network(stack, "Network"),
            code=lambda_code,
        )


def test_a_vpc_without_private_subnets_is_refused_in_one_sentence() -> None:
    stack = Stack(App(), "Theirs")
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["a"], public_subnet_ids=["subnet-1"]
    )
    network = Network(stack, "Network", vpc=vpc)
    with pytest.raises(ConfigError, match=r"^network: the VPC has neither isolated nor [^\n]+$"):
        Cache(stack, "Cache", network=network, key_patterns=("orders:*",), table_names=["orders"])


def test_another_app_mirrors_its_own_table_to_its_own_cache(lambda_code: LambdaCode) -> None:
    stack = Stack(App(), "Theirs")
    table = dynamodb.Table.from_table_attributes(
        stack, "Table", table_arn=TABLE_ARN, table_stream_arn=STREAM_ARN
    )
    network = Network(stack, "Network")
    cache = ExistingCache.from_attributes(
        stack, "Cache", name="c", host="cache.example.com", port=6380, tls=False, network=network
    )
    mirror = Mirror(
        stack,
        "Mirror",
        tables=[MirroredTable(table=table, keys=("id",))],
        cache=cache,
        network=network,
        code=lambda_code,
        parallelization_factor=10,
    )
    assert mirror.metric_applied().dimensions == {"table": "orders"}
    assert mirror.metric_complete().statistic == "Minimum"
    assert mirror.metric_replication_lag(statistic="p50").metric_name == "ReplicationLag"
    assert mirror.metric_failed(table=table).namespace == "dynamirror"
    assert mirror.metric_quarantine_size().metric_name == "QuarantineSize"
    assert mirror.metric_iterator_age().namespace == "AWS/Lambda"
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::ElastiCache::ServerlessCache", 0)
    template.has_resource_properties(
        "AWS::Lambda::Function",
        {
            "Environment": {
                "Variables": Match.object_like(
                    {"ELASTICACHE_HOST": "cache.example.com", "ELASTICACHE_TLS": "false"}
                )
            }
        },
    )


def test_two_syntheses_yield_the_same_template() -> None:
    first, second = (Template.from_stack(make_stack()[1]).to_json() for _ in range(2))
    assert first == second


def test_nag_finds_only_what_is_acknowledged_with_a_reason() -> None:
    app, _stack = make_stack()
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()  # raises if a rule finds something


def mapping_of(synth: Synth, config: Path, views: str) -> dict[str, Any]:
    """Return the event source mapping of a table with these views."""
    config.write_text(views, encoding="utf-8")
    template = synth(config=str(config), **EXISTING)
    (mapping,) = resources(template, "AWS::Lambda::EventSourceMapping")
    return mapping


def test_lambda_skips_records_that_no_view_needs(synth: Synth, tmp_path: Path) -> None:
    text = '[[view]]\nwhen = { status = "open" }\n'
    mapping = mapping_of(synth, tmp_path / "mirror.toml", text)
    patterns = [json.loads(filter_["Pattern"]) for filter_ in mapping["FilterCriteria"]["Filters"]]
    canary = {"Keys": {"customer": {"S": ["dynamirror:canary"]}}}
    images = ({image: {"status": {"S": ["open"]}}} for image in ("NewImage", "OldImage"))
    assert patterns == [{"dynamodb": pattern} for pattern in (*images, canary)]


def test_lambda_skips_nothing_if_a_view_takes_all_items(synth: Synth, tmp_path: Path) -> None:
    text = '[[view]]\nkey = "a:{customer}:{order}"\nwhen = { status = "open" }\n'
    text += '[[view]]\nkey = "b:{customer}:{order}"\n'
    mapping = mapping_of(synth, tmp_path / "mirror.toml", text)
    assert "FilterCriteria" not in mapping
