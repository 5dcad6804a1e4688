"""A `mirror.toml` describes a deployment, and errors name file, field and remedy."""

from pathlib import Path
from typing import Any

import pytest

from dynamirror.deployment.file import Deployment, check_sections, read_deployment
from dynamirror.deployment.identity import Identity, refused_changes
from dynamirror.deployment.overrides import FIELDS, check_names
from dynamirror.errors import ConfigError

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/{}"
STREAM = f"{ARN}/stream/2026-01-02T03:04:05.678"
VIEW = "[[view]]\n"
CACHE = '[cache.existing]\nname = "c"\n'


def table(name: str, keys: str = '{ id = "S" }', rest: str = "create = true") -> str:
    return f'[[table]]\nname = "{name}"\nkeys = {keys}\n{rest}\n'


def existing(name: str, keys: str = '{ id = "S" }') -> str:
    return table(name, keys, f'stream_arn = "{STREAM.format(name)}"')


def option(name: str, keys: str = "id") -> dict[str, str]:
    return {"tableArn": ARN.format(name), "streamArn": STREAM.format(name), "keys": keys}


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that reads a text as a `mirror.toml`, with options of context."""
    monkeypatch.chdir(tmp_path)

    def read_text(text: str, **context: str) -> Deployment:
        Path("mirror.toml").write_text(text, encoding="utf-8")
        return read_deployment("mirror.toml", context)

    return read_text


def test_without_file_and_options_it_is_the_demo() -> None:
    demo = read_deployment(None)
    assert (demo.stack_name, demo.is_demo, demo.has_simulator) == ("Dynamirror-demo", True, True)
    assert demo.canary_tables == demo.tables
    assert (demo.tables[0].keys, demo.tables[0].stream_arn) == (("id",), None)


@pytest.mark.parametrize(
    ("name", "stack"),
    [
        ("orders", "Dynamirror-orders"),
        ("Shop_Orders.v2-very-long-name", "Dynamirror-shop-orders-v2-very"),
        ("Abcdefghijklmnopqrs.tuv", "Dynamirror-abcdefghijklmnopqrs"),
    ],
)
def test_a_mirror_of_one_table_is_named_after_it(name: str, stack: str, read: Any) -> None:
    assert read(existing(name)).stack_name == stack
    assert read_deployment(None, option(name)).stack_name == stack
    assert read(existing(name), name="other").stack_name == "Dynamirror-other"


def test_a_mirror_of_several_tables_needs_a_name(read: Any) -> None:
    tables = table("carts") + existing("users", '{ pk = "S", sk = "N" }')
    with pytest.raises(ConfigError, match=r"^mirror\.toml: mirror\.name: is missing; a mirror of"):
        read(tables)
    shop = read('[mirror]\nname = "shop"\n' + tables)
    assert shop.stack_name == "Dynamirror-shop"
    assert [table.keys for table in shop.tables] == [("id",), ("pk", "sk")]
    assert [table.arn for table in shop.tables] == [None, ARN.format("users")]
    # Only the created table has a canary.
    assert [table.name for table in shop.canary_tables] == ["carts"]
    assert not shop.has_simulator


def test_options_override_single_values_of_the_file(read: Any) -> None:
    text = existing("orders") + "[cache]\nmax_gb = 7\nmax_ecpu = 5000\n[audit]\nrepair = false\n"
    deployment = read(text, cacheMaxGb="9", auditRepair="yes", **option("orders", "pk, sk"))
    assert (deployment.cache.max_gb, deployment.cache.max_ecpu) == (9, 5000)
    assert deployment.audit.repair is True
    assert deployment.tables[0].keys == ("pk", "sk")
    with pytest.raises(ConfigError, match=r"^context: tableArn: mirror\.toml has no \[\[table\]\]"):
        read(text, **option("users"))


# A wrong value, with the file's sentence.
IN_FILE = {
    "[[cache]]": "cache: write [cache], with one bracket on either side",
    '[cache]\nmax_gb = "x"': "cache.max_gb: must be a whole number from 1 to 5000, not 'x'",
    "[cache]\nmax_gbs = 1": "cache.max_gbs: there is no such field; did you mean 'max_gb'?",
    "[audit]\nparts = 0": "audit.parts: must be a whole number from 1 to 1000000, not 0",
    '[functions]\narchitecture = "vax"': (
        "functions.architecture: must be arm64 or x86_64, not 'vax'"
    ),
    '[mirror]\nname = "Shop"': (
        "mirror.name: must be up to 20 lower-case letters, digits and single dashes, a letter "
        "first, not 'Shop'"
    ),
    '[mirror]\nname = "a-very-long-name-of-a-mirror"': (
        "mirror.name: must be up to 20 lower-case letters, digits and single dashes, a letter "
        "first, not 'a-very-long-name-of-a-mirror'"
    ),
    '[network]\nsubnet_ids = "subnet-1"': (
        "network.subnet_ids: must be a list, each of it an id like subnet-0a1b2c3d, not 'subnet-1'"
    ),
    '[network]\nvpc_id = "vpc-1"\nsubnet_ids = ["subnet-1", "x"]': (
        "network.subnet_ids[1]: must be an id like subnet-0a1b2c3d, not 'x'"
    ),
    '[network]\nsubnet_ids = ["subnet-1"]': (
        "network: `subnet_ids` needs `vpc_id`, the VPC that they belong to"
    ),
    '[network]\ncidrs = ["10.0.0.0/33"]': (
        "network.cidrs[0]: must be a block like 10.0.0.0/16, not '10.0.0.0/33'"
    ),
    '[cache.existing]\nname = "x"': "cache.existing.host: is missing; set it",
    '[cache.existing]\nname = "orders cache"\nhost = "h"': (
        "cache.existing.name: must be a name like orders-cache, not 'orders cache'"
    ),
    f'{CACHE}host = "h:6379"': (
        "cache.existing.host: must be the name of a host, without scheme and port, not 'h:6379'"
    ),
    f"{CACHE}host = 'h'\nport = 6380": (
        "cache.existing: a serverless cache has port 6379; leave `port` out"
    ),
    f"{CACHE}host = 'h'\nkind = 'node-based'\ntls = false\nreader_user = 'u'": (
        "cache.existing: `reader_user` needs `tls`, because passwords and tokens must not be read"
    ),
    f"{CACHE}host = 'h'\nuser = 'u'\nreader_user = 'u'": (
        "cache.existing: `reader_user` must be another user than `user`, because applications only "
        "read"
    ),
    '[alarms]\nemail = "nobody"': (
        "alarms.email: must be an address like ops@example.com, not 'nobody'"
    ),
    '[functions]\ntracing = "yes"': "functions.tracing: must be true or false, not 'yes'",
    "[audit]\nenabled = false\nrate = 3": "audit.rate: applies only with enabled = true",
    "[cache]\nshards = 3": ('cache.shards: applies only with a new cache of kind = "node-based"'),
    '[cache]\nkind = "node-based"\nmax_gb = 3': (
        'cache.max_gb: applies only with a new cache of kind = "serverless"'
    ),
    '[cache]\nengine_version = "8"\n[cache.existing]\nname = "c"\nhost = "h"': (
        "cache.engine_version: applies only with a new cache, and so without [cache.existing]"
    ),
    '[network]\ncidrs = ["10.0.0.256/32"]': (
        "network.cidrs[0]: must be a block like 10.0.0.0/16, not '10.0.0.256/32'"
    ),
    '[network]\nsecurity_group_ids = ["sg-1", "sg-2", "sg-1"]': (
        "network: `security_group_ids` holds sg-1 twice; leave one out"
    ),
    '[network]\nvpc_id = "vpc-1"\nsubnet_ids = ["subnet-1", "subnet-1"]': (
        "network: `subnet_ids` holds subnet-1 twice; leave one out"
    ),
    '[mirror]\nremoved_tables = ["a", "a"]': (
        "mirror: `removed_tables` holds a twice; leave one out"
    ),
    '[functions]\npython = "3.10"': (
        "functions.python: must be 3.11 or newer, as in 3.13, not '3.10'"
    ),
    '[cache]\nkind = "node-based"\nnode_type = "r7g.large"': (
        "cache.node_type: must be a type like cache.r7g.large, not 'r7g.large'"
    ),
    "[alarms]\ncache_ecpu_percent = 5": (
        "alarms.cache_ecpu_percent: applies only with max_ecpu in [cache]"
    ),
    "[alarms]\ndrift_items = 5\n[audit]\nenabled = false": (
        "alarms.drift_items: applies only with an audit"
    ),
    "[alarms]\nquarantine_items = 5\n[audit]\nenabled = false\n[canary]\nenabled = false": (
        "alarms.quarantine_items: applies only with an audit or a canary"
    ),
    '[cache]\nkind = "node-based"\n[alarms]\ncache_storage_percent = 5': (
        "alarms.cache_storage_percent: applies only with a serverless cache of known size"
    ),
    '[network]\nvpc_id = "vpc-1"\ncidrs = ["10.0.0.0/8"]\n'
    '[cache.existing]\nname = "c"\nhost = "h"': (
        "network.cidrs: applies only with a new cache, or with security_group_id in "
        "[cache.existing]"
    ),
    "[network]\npublic = true\n"
    '[cache.existing]\nname = "c"\nhost = "h"\nsecurity_group_id = "sg-1"': (
        "cache.existing.security_group_id: applies only with network.vpc_id, because a public "
        "cache has no security group"
    ),
}


@pytest.mark.parametrize("text", IN_FILE)
def test_an_error_in_the_file_names_file_field_and_remedy(text: str, read: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        read(f"{VIEW}\n{text}\n")
    assert str(refused.value) == f"mirror.toml: {IN_FILE[text]}"
    if "applies only" not in IN_FILE[text]:  # which depends on context
        with pytest.raises(ConfigError) as refused:
            check_sections("mirror.toml")
        assert str(refused.value) == f"mirror.toml: {IN_FILE[text]}"


KEY = 'kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/1"'
FOREIGN = STREAM.format("users").replace("eu-west-1", "us-east-1")


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (table("ab"), "table[0].name: must be 3 to 255 letters, digits, dots, dashes and"),
        (table("a b"), "table[0].name: must be 3 to 255 letters"),
        (table("a" * 256), "table[0].name: must be 3 to 255 letters"),
        (table("orders", rest=f"create = true\n{KEY}"), "table[0].kms_key_arn: applies only with"),
        (
            existing("orders") + 'kms_key_arn = "alias/x"\n',
            "table[0].kms_key_arn: must be an ARN like",
        ),
        (
            table("orders", rest='stream_arn = "x:table/orders/stream/y"'),
            "table[0]: stream_arn: 'x:table/orders/stream/y' is no stream of table orders; it",
        ),
        (
            existing("orders") + table("users", rest=f'stream_arn = "{FOREIGN}"'),
            f"table[].stream_arn: {ARN.format('orders')} and ",
        ),
        (
            f'[mirror]\nremoved_tables = ["orders"]\n{table("orders")}',
            "mirror.removed_tables: names orders, which is a table of this mirror; take it out",
        ),
        (
            "".join(table(f"{number:02}{'a' * 200}") for number in range(20)),
            "table[].name: the names of 20 tables have 4040 letters together",
        ),
    ],
)
def test_a_table_that_cannot_be_mirrored_is_refused(tables: str, sentence: str, read: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tables, name="shop")
    assert str(refused.value).startswith(f"mirror.toml: {sentence}")


def test_names_of_tables_may_differ_by_case_dots_and_dashes_only(read: Any) -> None:
    names = ["a.b", "a-b", "a_b", "A.b", "n" * 255]
    deployment = read("".join(map(table, names)), name="shop")
    assert [table.name for table in deployment.tables] == names


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        ({"vpcId": "x"}, "vpcId: must be an id like vpc-0a1b2c3d, not 'x'"),
        ({"subnetIds": "subnet-1, s", "vpcId": "vpc-1"}, "subnetIds: must be an id like"),
        ({"public": "true", "vpcId": "vpc-1"}, "public needs no VPC, and so excludes vpcId,"),
        ({"cacheShards": "2"}, "cacheShards: applies only with a new cache of cacheKind=node-"),
        ({"securityGroupIds": "sg-1,sg-1"}, "securityGroupIds holds sg-1 twice; leave one out"),
        ({**option("orders"), "keys": "a,b,c"}, "keys: must be the partition key and, if there"),
        ({**option("orders"), "keys": "a,a"}, "keys: must be the partition key and, if there"),
        ({**option("orders"), "keys": ","}, "keys: must be the partition key and, if there"),
        ({**option("orders"), "tableKeyArn": "x"}, "tableKeyArn: must be an ARN like"),
        (
            {"tableArn": "x:table/orders", "streamArn": "x:table/orders/stream/y", "keys": "id"},
            "streamArn: x:table/orders/stream/y is not a stream of x:table/orders",
        ),
        ({"cacheEcpuPercent": "5"}, "cacheEcpuPercent: applies only with cacheMaxEcpu"),
        ({"maxAzs": "3", "vpcId": "vpc-1"}, "maxAzs: applies only with a new VPC, and so without"),
    ],
    ids=str,
)
def test_an_error_in_context_names_the_option(context: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_deployment(None, context)
    assert str(refused.value).startswith(f"context: {sentence}")


def test_a_view_of_a_table_that_the_mirror_lacks_is_refused(read: Any) -> None:
    view = '[[view]]\ntable = "ordrs"\nkey = "x:{id}"\n'
    with pytest.raises(ConfigError, match=r"'ordrs' is no table of this mirror; its tables are"):
        read(existing("orders") + view)
    with pytest.raises(
        ConfigError, match=r"'ordrs' is no table of this mirror; add a \[\[table\]\]"
    ):
        read(view)


def test_a_canary_needs_a_partition_key_of_text(read: Any) -> None:
    numbers = table("numbers", '{ id = "N" }')
    assert read(numbers).canary_tables == ()
    with pytest.raises(ConfigError, match=r"canary\.enabled: table numbers has a partition key of"):
        read(f"{numbers}[canary]\nenabled = true\n")


def test_every_field_of_a_section_has_an_option() -> None:
    """A value that only a file can set is one that -c cannot override in a hurry."""
    known = set(FIELDS.values())
    sections = (field for field in Deployment.__struct_fields__)
    missing = set()
    for section in sections:
        fields = getattr(getattr(read_deployment(None), section), "__struct_fields__", ())
        missing |= {(section, field) for field in fields} - known
    assert missing == {("cache", "existing")}


def test_an_unknown_name_of_context_is_refused_with_the_nearest_one() -> None:
    check_names(["batchSize", "@aws-cdk/core:x", "stage"], ["stage"])
    with pytest.raises(ConfigError, match="context: vpcid: there is no such option; did you mean"):
        check_names(["vpcid"])


SUBNETS = {"vpcId": "vpc-1", "subnetIds": "subnet-1,subnet-2"}
NODES = {"cacheKind": "node-based"}
KEY_OF_CACHE = {"cacheKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/1"}


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ({}, {"maxAzs": "1"}, "network.max_azs 2, and 1"),
        ({}, {"vpcId": "vpc-1"}, "network.vpc_id unset, and vpc-1"),
        ({}, {"public": "true"}, "network.public false, and true"),
        ({}, KEY_OF_CACHE, "cache.kms_key_arn unset, and arn:aws:kms"),
        (KEY_OF_CACHE | NODES, NODES, "cache.kms_key_arn arn:aws:kms"),
        (SUBNETS, {**SUBNETS, "subnetIds": "subnet-1"}, "network.subnet_ids subnet-1, subnet-2"),
        # The same subnets, subnets that were looked up, and those of nodes, which may change.
        (SUBNETS, {**SUBNETS, "subnetIds": "subnet-2,subnet-1"}, None),
        ({"vpcId": "vpc-1"}, SUBNETS, None),
        (SUBNETS | NODES, {**SUBNETS, "subnetIds": "subnet-1"} | NODES, None),
        ({}, {"cacheEngineVersion": "8", "cacheMaxGb": "9"}, None),
    ],
    ids=str,
)
def test_what_would_replace_the_cache_is_refused(
    before: dict[str, str], after: dict[str, str], field: str | None
) -> None:
    """CloudFormation cannot: it creates the new cache first, whose name the old one has."""
    deployed, wanted = (read_deployment(None, context).identity for context in (before, after))
    sentences = refused_changes("demo", Identity.from_json(deployed.to_json()), wanted)
    if field is None:
        assert not sentences
    else:
        (sentence,) = sentences
        assert sentence.startswith(f"mirror demo: its cache was created with {field}")
        assert " needs another cache; change it back, or deploy it under another name" in sentence
