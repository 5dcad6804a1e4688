"""Least privilege: the access strings of docs/security.md suffice, and give nothing else."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from boto3.dynamodb.conditions import Key
from tests.support.access import ACCESS, OPERATOR, READER, ROOT, Login
from tests.support.builders import item, record, view
from tests.support.mirroring import Mirror, Table, entries
from tests.support.scans import scanned_keys

from dynamirror.cache import quarantine
from dynamirror.cache.acl import COMMANDS, Role, access_string
from dynamirror.cache.answers import Failure
from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.lease import Leases, read_lease
from dynamirror.cache.quarantine import ParkedItem
from dynamirror.cache.scripts import Command
from dynamirror.cache.writer import apply
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.reader import Reader
from dynamirror.reader.guarded_cache import ReadCounts
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.verify import compare
from dynamirror.settings import Settings
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON, Encoding
from dynamirror.views.entry import entry_of_row
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import Schema, ViewSpec, bind_views

STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/users/stream/2026-01-02T03:04:05.678"


OpenCache = Callable[[Settings], Cache]


def granted(access: str) -> set[str]:
    """The commands of an access string."""
    return {word[1:] for word in access.split() if word.startswith("+")}


@pytest.mark.parametrize("withheld", ["set", "hset", "hkeys", "hdel", "persist", "unlink"])
@pytest.mark.parametrize("encoding", [JSON, HASH], ids=["json", "hash"])
def test_what_a_command_withheld_keeps_from_being_written_is_written_once_it_is_granted(
    login: Login, admin: Cache, encoding: Encoding, withheld: str
) -> None:
    spec, table = ViewSpec(encoding=encoding), Table()
    mirror = Mirror(login(OPERATOR), spec)
    assert mirror.deliver(table.puts(["1", "2"], name="first")) is None
    lacking = OPERATOR.replace(f" +{withheld}", "")
    changes = [*table.puts(["1"], name="second"), table.delete("2")]
    Mirror(login(lacking), spec).deliver(changes)
    assert Mirror(login(OPERATOR), spec).deliver(changes) is None
    assert entries(admin) == table.shown("users:{id}")


@pytest.mark.parametrize("withheld", ["zadd", "zrem", "set", "unlink"])
@pytest.mark.parametrize("encoding", [JSON, HASH], ids=["json", "hash"])
def test_an_index_loses_nothing_by_a_command_withheld_and_gets_all_once_it_is_granted(
    login: Login, admin: Cache, encoding: Encoding, withheld: str
) -> None:
    schema = Schema("users", ("id", "n"), ("S", "N"))
    spec = ViewSpec(key="users:{{{id}}}:{n}", encoding=encoding, collection=True)
    one = spec.bind(schema)
    items = [item("a", n={"N": str(number)}) for number in (1, 2, 3)]

    def write(cache: Cache, as_of: int, present: list[Any], gone: list[Any]) -> None:
        version = SnapshotVersion(as_of)
        rows = [(item, item) for item in present] + [(item, None) for item in gone]
        puts = (entry_of_row(one, schema.key_of(key), found, version) for key, found in rows)
        apply(cache, filter(None, puts), fence_ttl=93_600)

    write(login(OPERATOR), 1, items[:2], [])
    lacking = login(OPERATOR.replace(f" +{withheld}", ""))
    write(lacking, 2, items[1:], items[:1])
    members = admin.call("users:{a}:%%", b"ZRANGE", b"users:{a}:%%", 0, -1)
    assert len(members) in (1, 2, 3), "nothing else was taken away"
    write(login(OPERATOR), 2, items[1:], items[:1])
    result = compare(items[1:], admin, [one])
    assert (result.differences, result.sample) == (0, {})


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        (ViewSpec(), "users:{id}"),
        (ViewSpec(encoding=HASH), "users:{id}"),
        (ViewSpec(key="users:{name}:{id}"), "users:{name}:{id}"),
        (ViewSpec(key="users:{{{name}}}:{id}", encoding=HASH), "users:{{{name}}}:{id}"),
    ],
    ids=["json", "hash", "changing key", "hash tag"],
)
def test_the_replicator_and_verify_do_all_they_have_to(
    login: Login, admin: Cache, spec: ViewSpec, key: str
) -> None:
    cache = login(OPERATOR)
    mirror, table, ids = Mirror(cache, spec), Table(), [str(number) for number in range(300)]
    for name in ("first", "second"):
        assert mirror.deliver(table.puts(ids, name=name)) is None
    assert mirror.deliver([table.delete(one) for one in ids[:50]]) is None
    assert entries(admin) == table.shown(key)
    comparison = compare(table.items.values(), cache, [view(spec)])
    assert (comparison.entries, comparison.differences) == (250, 0)


def test_parking_and_positions_work(login: Login, admin: Cache) -> None:
    cache = login(OPERATOR)
    mirror = Mirror(cache)
    bad = record(1, item("1", name={"N": "not a number"}))
    assert mirror.deliver([bad, record(2, item("2"))]) is None
    assert set(entries(admin)) == {"users:2"}
    parked = [ParkedItem("users", item(str(n)), "1", "for a test") for n in range(3)]
    assert quarantine.park(cache, parked, at="now", limit=2) == []
    assert quarantine.overflow(cache, "users") > 0
    for one in quarantine.read_quarantine(cache, "users"):
        assert quarantine.release(cache, "users", one, instead=None)
    quarantine.forget_overflow(cache, "users", quarantine.overflow(cache, "users"))
    assert quarantine.overflow(cache, "users") == 0
    assert quarantine.read_quarantine(cache, "users") == []

    positions = Checkpoints(cache, STREAM)
    positions.save("shard", Checkpoint("1"))
    assert positions.load() == {"shard": Checkpoint("1")}


def test_the_lease_of_several_processes_works(login: Login) -> None:
    cache = login(OPERATOR)
    leases = Leases(cache, "users", "a:1", 30.0)
    lease = leases.take("token")
    assert lease is not None
    assert read_lease(cache, "users") == lease
    held = Checkpoints(cache, STREAM, token="token")
    held.save("shard", Checkpoint("2"))
    held.forget("shard")
    assert leases.release("token")
    assert leases.read() != lease


def refused(cache: Cache, *words: str) -> str:
    """Why a command is not carried out."""
    (answer,) = cache.execute([Command(b"users:1", words)])
    assert isinstance(answer, Failure), f"{words}: {answer!r}"
    return answer.reason


FORBIDDEN: list[tuple[Any, ...]] = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("CONFIG", "GET", "*"),
    ("DEL", "users:1"),
    ("DEL", "foreign:1"),
    ("EVAL", "return 1", "0"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("ACL", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("SHUTDOWN",),
    ("PUBLISH", "channel", "message"),
    ("MONITOR",),
]


# What the operator's commands send, and nobody who only reads.
OPERATORS: list[tuple[Any, ...]] = [
    *(("SCAN", "0"), ("EVALSHA", "0" * 40, "1", "users:1")),
    *(("SET", "users:1", ""), ("HSET", "users:1", "a", ""), ("UNLINK", "users:1")),
]


FOREIGN: list[tuple[Any, ...]] = [
    ("GET", "{users:1}"),
    ("GET", "foreign:{users:1}"),
    ("HGETALL", "foreign:{users:1}"),
]


@pytest.mark.parametrize("words", FORBIDDEN, ids=" ".join)
@pytest.mark.parametrize("access", [OPERATOR, READER], ids=["operator", "reader"])
def test_any_other_command_is_refused(login: Login, access: str, words: tuple[str, ...]) -> None:
    assert "has no permissions to run the" in refused(login(access), *words)


@pytest.mark.parametrize("words", OPERATORS, ids=" ".join)
def test_readers_are_refused_what_operators_need(login: Login, words: tuple[str, ...]) -> None:
    assert "has no permissions to run the" in refused(login(READER), *words)


@pytest.mark.parametrize("words", FOREIGN, ids=" ".join)
@pytest.mark.parametrize("access", [OPERATOR, READER], ids=["operator", "reader"])
def test_any_other_key_is_refused(login: Login, access: str, words: tuple[str, ...]) -> None:
    assert "No permissions to access a key" in refused(login(access), *words)


# Keys, and who may read and write them.
REACHED = {
    "users:1": ("replicator operator auditor inspector reader", "replicator operator auditor"),
    "dynamirror:fence:{users:1}": (
        *("replicator operator auditor inspector reader", "replicator operator auditor"),
    ),
    "dynamirror:fence:users:{1}": (
        *("replicator operator auditor inspector reader", "replicator operator auditor"),
    ),
    "dynamirror:{users}:mirror": (
        *("replicator operator auditor canary reader", "replicator operator"),
    ),
    "dynamirror:{users}:quarantine": ("replicator operator auditor canary", "replicator operator"),
    "dynamirror:{users}:quarantine:overflow": (
        *("replicator operator auditor", "replicator operator"),
    ),
    "dynamirror:{users}:heartbeats": (
        *("replicator operator auditor reader", "replicator operator auditor"),
    ),
    "dynamirror:{users}:canary": ("replicator operator auditor canary", "replicator operator"),
    "dynamirror:fence:dynamirror:{users}:canary": ("replicator operator", "replicator operator"),
    "dynamirror:{users}:audit": ("operator auditor", "operator auditor"),
    "dynamirror:{users}:rebuild": ("operator auditor", "operator"),
    "dynamirror:{others}:mirror": ("", ""),
    "dynamirror:{others}:quarantine": ("", ""),
    "dynamirror:fence:{others:1}": ("", ""),
    "others:1": ("", ""),
}


@pytest.mark.parametrize("key", REACHED)
def test_each_key_is_reached_by_the_roles_that_need_it_only(admin: Cache, key: str) -> None:
    for words, roles in zip((("GET", key), ("SET", key, "x")), REACHED[key], strict=True):
        reached = set()
        for role in Role:
            rules = (*ACCESS[role].split(), "+get", "+set")
            admin.broadcast(b"ACL", b"SETUSER", b"tried", b"reset", *(r.encode() for r in rules))
            if admin.broadcast(b"ACL", b"DRYRUN", b"tried", *words) == [b"OK"]:
                reached.add(str(role))
        assert reached == set(roles.split()), words
    admin.broadcast(b"ACL", b"DELUSER", b"tried")


def test_a_string_for_several_tables_grants_the_keys_of_each_and_names_none_twice() -> None:
    for role in Role:
        one, other, both = (
            access_string(role, patterns=patterns, tables=tables).split()
            for patterns, tables in (
                (["a:*"], ["t1"]),
                (["b:*", "b:{*"], ["t2"]),
                (["a:*", "b:*", "a:*", "b:{*"], ["t1", "t2"]),
            )
        )
        assert set(both) == {*one, *other}
        assert len(both) == len(set(both))


def test_a_view_of_all_keys_leaves_no_other_pattern() -> None:
    for role in Role:
        words = access_string(role, patterns=["a:*", "*"], tables=["t1"]).split()
        keys = [word for word in words if "~" in word]
        if role is Role.CANARY:
            assert len(keys) == 3
        else:
            is_read_only = role in {Role.READER, Role.INSPECTOR}
            assert keys == ["%R~*" if is_read_only else "~*"]


def test_the_operator_may_all_that_the_functions_may() -> None:
    """With an existing cache, all of them connect as the one user that has its string."""
    for role in set(Role) - {Role.READER}:
        assert COMMANDS[role] <= COMMANDS[Role.OPERATOR]
    for reached in REACHED.values():
        for roles in reached:
            assert "operator" in roles or not roles


def test_no_role_is_granted_a_category() -> None:
    for commands in COMMANDS.values():
        assert not [name for name in commands if name.startswith("@")]


def test_a_view_outside_the_patterns_is_refused_and_changes_nothing(
    login: Login, admin: Cache
) -> None:
    mirror, table = Mirror(login(OPERATOR), ViewSpec(key="foreign:{id}")), Table()
    records = table.puts(["1", "2"])
    assert mirror.deliver(records) == records[0]["dynamodb"]["SequenceNumber"]
    assert mirror.reasons == {"No permissions to access a key"}
    assert list(scanned_keys(admin, "*")) == []


def test_a_reader_reads_entries_and_changes_nothing(login: Login, admin: Cache) -> None:
    table = Table()
    assert Mirror(admin).deliver(table.puts(["1", "2"], name="Ada")) is None
    assert (
        Mirror(admin, ViewSpec(key="users:hash:{id}", encoding=HASH)).deliver(
            table.puts(["1", "2"], name="Ada")
        )
        is None
    )
    reader = login(READER)
    assert reader.call("users:1", b"GET", "users:1") == b'{"id":"1","name":"Ada"}'
    assert reader.call("users:hash:1", b"HGETALL", "users:hash:1") == [
        *(b"id", b"1", b"name", b"Ada"),
    ]
    beats = "dynamirror:{users}:heartbeats"  # how far the mirror is behind
    assert reader.call(beats, b"HGETALL", beats) == []
    assert len(reader.call(beats, b"TIME")) == 2
    for ours in ("dynamirror:{users}:quarantine", "dynamirror:{users}:rebuild"):
        assert "No permissions" in refused(reader, "HGETALL", ours)
    assert Mirror(admin).deliver(table.puts(["1"], name="Grace")) is None


def test_a_reader_does_all_it_can_and_never_asks_the_table(
    server: EmbeddedValkey, login: Login, admin: Cache, tmp_path: Path
) -> None:
    """By key and by query, however fresh, and believing the mirror about what is absent."""
    spec, schema = ViewSpec(encoding=DYNAMODB_JSON, collection=True), Schema("users", ("pk", "sk"))
    mirrored, keys = spec.bind(schema), {"pk": {"S": "a"}, "sk": {"S": "b"}}
    row = entry_of_row(mirrored, keys, keys, SnapshotVersion(1000))
    assert row is not None
    assert apply(admin, [row], fence_ttl=93_600).applied == 1
    record_gap(admin, [mirrored], stream=STREAM, at=1, reason="new")
    record_complete(admin, [mirrored], SnapshotVersion(2))
    login(READER)
    nobody: Any = SimpleNamespace(dynamodb=lambda: None)
    with Reader(
        server.settings(user="limited", password_file=str(tmp_path / "password")),
        "users",
        views=[spec],
        aws=nobody,
        schema=Schema("users", schema.keys, ("S", "S")),
        on_miss="absent",
    ) as reader:
        there, absent = {"pk": "a", "sk": "b"}, {"pk": "a", "sk": "c"}
        assert reader.get_item(Key=there)["Item"] == there
        assert reader.get_item(Key=there, min_time=900, age=True)["Item"] == there
        assert "Item" not in reader.get_item(Key=absent)
        batch = reader.batch_get_item(RequestItems={"users": {"Keys": [there, absent]}})
        assert batch["Responses"]["users"] == [there]
        page = reader.query(KeyConditionExpression=Key("pk").eq("a"), age=True)
        assert page["Items"] == [there]
        assert reader.counts == ReadCounts(hits=4, misses=2)


def test_a_reader_queries_an_index_and_never_asks_the_table(
    server: EmbeddedValkey, login: Login, admin: Cache, tmp_path: Path
) -> None:
    """In both directions, counted, and page by page."""
    specs = parse_views(
        '[[view]]\nname = "default"\nencoding = "dynamodb-json"\n'
        '[[view]]\nname = "kinds"\nkey = "users:kinds:{{{kind}}}:{at}:{id}"\n'
        'index = { partition = "kind", sort = "at" }\n'
    )
    schema = Schema("users", ("id",), ("S",))
    views = bind_views(specs, schema)
    items = [item(str(n), kind={"S": "a"}, at={"N": str(n)}) for n in range(3)]
    rows = [entry_of_row(view, it, it, SnapshotVersion(1000)) for view in views for it in items]
    assert apply(admin, filter(None, rows), fence_ttl=93_600).applied == len(rows)
    record_gap(admin, views, stream=STREAM, at=1, reason="new")
    record_complete(admin, views, SnapshotVersion(2))
    login(READER)
    nobody: Any = SimpleNamespace(dynamodb=lambda: None)
    settings = server.settings(user="limited", password_file=str(tmp_path / "password"))
    asked: list[dict[str, Any]] = [
        {},
        {"ScanIndexForward": False, "Limit": 1},
        {"Select": "COUNT"},
        {"KeyConditionExpression": Key("kind").eq("a") & Key("at").between(1, 2)},
    ]
    with Reader(
        settings, "users", views=specs, view="default", aws=nobody, schema=schema
    ) as reader:
        pages = [
            reader.query(
                IndexName="kinds", **{"KeyConditionExpression": Key("kind").eq("a"), **more}
            )
            for more in asked
        ]
        assert [page["Count"] for page in pages] == [3, 1, 3, 2]
        assert pages[1]["Items"][0]["id"] == "2"
        assert reader.counts == ReadCounts(hits=4)


def named_in_sources(admin: Cache, *but: str) -> set[str]:
    """The Valkey commands that the sources name, some folders apart."""
    source = ROOT / "src/dynamirror"
    words: set[tuple[str, str]] = set()
    for path in source.rglob("*.py"):
        if not {*but} & {*path.relative_to(source).parts}:
            text = path.read_text(encoding="utf-8")
            words |= set(re.findall(r'b"([A-Z]{2,})"(?:, b"([A-Z]+)")?', text))
    for path in source.rglob("*.lua"):
        calls = re.findall(r"redis\.p?call\('([A-Z]+)'", path.read_text(encoding="utf-8"))
        words |= {(call, "") for call in calls}
    named = {f"{first}|{second}".lower() for first, second in words if second}
    named |= {word.lower() for pair in words for word in pair if word}
    names = sorted(named)
    (described,) = admin.broadcast(b"COMMAND", b"INFO", *names)
    known = {name for name, description in zip(names, described, strict=True) if description}
    # AUTH comes before there is a user who may do anything: nobody needs to be granted it.
    return known - {name.partition("|")[0] for name in known if "|" in name} - {"auth"}


def test_the_access_string_names_just_what_the_sources_use(admin: Cache) -> None:
    # The emulators and the demo's page break servers of their own.
    assert granted(OPERATOR) == named_in_sources(admin, "demo", "emulators", "page", "reader")
    reading = named_in_sources(admin, "demo", "emulators", "page") - granted(OPERATOR)
    assert reading <= granted(READER)
