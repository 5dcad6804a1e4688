"""Each role's access string grants just the commands that the role sends to a real server."""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from botocore.client import BaseClient
from tests.support.aws_rights import CALLS
from tests.support.builders import Time, record
from tests.support.deadlines import wait_until
from tests.support.following import Following
from tests.support.judged import questions_of
from tests.support.sandboxes import fresh_logger
from tests.support.scans import keys_in

from dynamirror import handler as replicator
from dynamirror.cache.acl import COMMANDS, Role, access_string
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_gap
from dynamirror.dynamodb.client import describe_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table, write_items
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.functions import auditor, canary, environment, judge, operator, worker
from dynamirror.inspection import settling
from dynamirror.replication.replicator import build
from dynamirror.runner.event_source_mapping import EventSourceMapping
from dynamirror.runner.follower import Follower
from dynamirror.settings import Settings, load_views
from dynamirror.views import canary as canary_item
from dynamirror.views.mirror_toml import check_views
from dynamirror.views.view import Schema, Views, bind_views

VIEWS = """
[[view]]
name = "orders"
key = "orders:{{{pk}}}:{sk}"
collection = true

[[view]]
name = "sessions"
key = "sessions:{pk}:{sk}"
encoding = "hash"
ttl = "until"

[[view]]
name = "names"
key = "names:{name}:{pk}:{sk}"
"""
KEYS = ("pk", "sk")
GAP = 1_790_000_000
UNTIL = {"until": {"N": "4000000000"}}
# What `disturb` changes.
DISTURBED = 5
# A node asks for it while slots move (tests/faults/test_slots.py).
# A cache that is no cluster, and a slot of very many keys, are scanned
# (tests/faults/test_slot_scanning.py).
RARE = {"asking", "scan"}
FUNCTIONS = {
    "replicator": replicator,
    "operator": operator,
    "worker": worker,
    "auditor": auditor,
    "canary": canary,
    "judge": judge,
}
# Ours, and what needs no grant.
UNCOUNTED = {"acl|log", "auth", "config|resetstat"}


class Roles:
    """A table of five items, two of which cannot be entries, and a cache with a user for each role.

    Args:
        server: the cache.
        admin: the cache without limits.
        dynamodb: the emulator.
        folder: for files.
        set_env: sets an environment variable.
    """

    def __init__(
        self,
        server: EmbeddedValkey,
        admin: Cache,
        dynamodb: EmbeddedDynamoDB,
        folder: Path,
        set_env: Callable[[str, str], None],
    ) -> None:
        self._server, self.admin, self._set_env = server, admin, set_env
        self._ours: Counter[str] = Counter()
        # What each function has asked of AWS since `become`.
        self.asked: dict[str, set[str]] = {}
        self._asking: set[str] = set()
        client = dynamodb.aws.dynamodb()
        self.table = f"t-{uuid4().hex[:12]}"
        create_table(client, self.table, dict.fromkeys(KEYS, "S"))
        self.stream = describe_table(client, self.table).stream_arn
        bad = [order(number, name={"SS": ["x"]}) for number in (4, 5)]  # no part of a key
        good = [order(1), order(2, **UNTIL), order(3, name={"S": "x"})]
        write_items(client, self.table, [*good, *bad])
        self._config, self._password = folder / "mirror.toml", folder / "password"
        self._config.write_text(VIEWS, encoding="utf-8")
        self._password.write_text("right", encoding="utf-8")
        specs = load_views(str(self._config))
        self._patterns = check_views(specs, self.table, KEYS, "NEW_AND_OLD_IMAGES")
        self.views = bind_views(specs, Schema(self.table, KEYS, ("S", "S")))

    def become(self, role: Role) -> None:
        """Start the sandbox of a function, whose user has the role's access string."""
        self.forget()
        access = access_string(role, patterns=self._patterns, tables=[self.table])
        rules = (b"reset", b">right", *access.encode().split())
        self.admin.broadcast(b"ACL", b"SETUSER", b"role", *rules)
        self.admin.broadcast(b"SCRIPT", b"FLUSH", b"SYNC")
        settings = self._server.settings(
            user="role",
            password_file=str(self._password),
            config=str(self._config),
            key_schema=",".join(KEYS),
            quarantine_limit=1,
        )
        for name, value in settings.to_env().items():
            self._set_env(name, value)
        self._ours = Counter()
        self.asked.clear()
        self.admin.broadcast(b"CONFIG", b"RESETSTAT")
        self.admin.broadcast(b"ACL", b"LOG", b"RESET")

    def noting(self, name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function's handler; what it asks of AWS is noted."""

        def handle(*arguments: Any) -> Any:
            self._asking = self.asked.setdefault(name, set())
            return handler(*arguments)

        return handle

    def note(self, service: str, operation: str) -> None:
        """Note what the function that was invoked last asks of AWS."""
        self._asking.add(f"{service}:{operation}")

    def forget(self) -> None:
        """End the sandbox, if there is one."""
        for function in (replicator.replicator, environment.operations, judge.the_judge):
            if function.cache_info().currsize:
                function().cache.close()
            function.cache_clear()
        canary._probe.cache_clear()

    def deliver(self, *records: dict[str, Any]) -> None:
        """Deliver records of the table's stream."""
        batch = [{**one, "eventSourceARN": self.stream} for one in records]
        assert replicator.handler({"Records": batch}, Time()) == {"batchItemFailures": []}

    def calls(self) -> Counter[str]:
        """How often each command was called."""
        (text,) = self.admin.broadcast(b"INFO", b"commandstats")
        found = re.findall(r"cmdstat_([^:]+):calls=(\d+)", text.decode())
        return Counter({command: int(count) for command, count in found})

    def sent(self) -> set[str]:
        """Which commands were called by another than us since `become`."""
        return {*(self.calls() - self._ours)} - UNCOUNTED

    def disturb(self) -> None:
        """Change entries of a complete mirror, and add some that have no item."""
        before, write = self.calls(), self.admin.call
        write("sessions:a:1", b"HSET", b"sessions:a:1", b"more", b"x")
        write("sessions:a:1", b"EXPIREAT", b"sessions:a:1", 4_000_000_000)
        write("sessions:a:2", b"UNLINK", b"sessions:a:2")
        write("sessions:a:9", b"HSET", b"sessions:a:9", b"pk", b"a")
        write("orders:{a}:%%", b"ZREM", b"orders:{a}:%%", b"3")
        write("orders:{a}:9", b"SET", b"orders:{a}:9", b"{}")
        write("orders:{a}:%%", b"ZADD", b"orders:{a}:%%", 0, b"9")
        self._ours = self.calls() - before


@pytest.fixture
def roles(
    valkey: EmbeddedValkey,
    cache: Cache,
    dynamodb: EmbeddedDynamoDB,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Roles]:
    """A table whose mirror has an old gap."""
    for name in list(os.environ):
        if name.startswith(("ELASTICACHE_", "DYNAMIRROR_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "Aws", lambda: dynamodb.aws)
    monkeypatch.setattr(judge, "Aws", SimpleNamespace(from_env=lambda: dynamodb.aws))
    monkeypatch.setattr(settling, "PAUSES", (0.0, 0.0, 0.0))
    roles = Roles(valkey, cache, dynamodb, tmp_path, monkeypatch.setenv)
    monkeypatch.setenv("DYNAMODB_TABLE", roles.table)
    monkeypatch.setenv("DYNAMIRROR_AUDIT_PARTS", "1")
    monkeypatch.setenv("DYNAMIRROR_AUDIT_SETTLE", "0")
    record_gap(cache, roles.views, stream=roles.stream, at=GAP, reason="for a test")
    clients: Any = BaseClient
    call = clients._make_api_call

    def noted(client: Any, operation: str, arguments: Any) -> Any:
        roles.note(client.meta.service_model.signing_name, operation)
        return call(client, operation, arguments)

    monkeypatch.setattr(clients, "_make_api_call", noted)
    for name, module in FUNCTIONS.items():
        monkeypatch.setattr(module, "handler", roles.noting(name, module.handler))
    with fresh_logger():
        yield roles
    roles.forget()
    cache.broadcast(b"ACL", b"DELUSER", b"role")


def order(number: int, **attributes: Any) -> dict[str, Any]:
    """An item of the table."""
    return {"pk": {"S": "a"}, "sk": {"S": str(number)}, **attributes}


def change(sequence: int, number: int, new: Any = None, old: Any = None) -> dict[str, Any]:
    """A record of one item's change."""
    return record(sequence, new, old, Keys=order(number), ApproximateCreationDateTime=time.time())


def replicate(roles: Roles) -> None:
    """Write, shorten and delete entries; note a gap, park bad items, and see the canary."""
    whole, short = order(1, name={"S": "x"}, **UNTIL), order(1)
    roles.deliver(change(1, 1, whole), change(2, 2, order(2, **UNTIL)))
    roles.deliver(change(3, 1, short, whole), change(4, 2, None, order(2)))
    roles.deliver(*(change(n, n, order(n, wrong={"N": "no"})) for n in (5, 6)))
    keys = {name: {"S": canary_item.NAME} for name in KEYS}
    mark = {"dynamirror": {"M": {"at": {"N": "5"}, "nonce": {"S": "x"}}}}
    roles.deliver(record(7, keys | mark, Keys=keys))


def operate(roles: Roles) -> None:
    """Rebuild, verify, repair; redrive and drop the quarantine."""
    rebuild()
    roles.disturb()
    for part in range(2):
        parts = {"index": part, "lanes": 2, "segments": 1, "ranges": 1}
        step(step="verify", id="v", **parts, settle=0, repair=True)
    assert step(step="sum", id="v", parts=2)["repaired"] == DISTURBED
    parked = ask(type="quarantine")
    assert (len(parked["items"]), parked["overflow"]) == (1, 1), "the rebuild parked two"
    ask(type="redrive", wait=False)
    ask(type="quarantine", discard="all")
    ask(type="verify", settle=0)


def rebuild() -> None:
    """Take the steps of a rebuild."""
    assert step(step="check", running=[])["start"]
    # Its rows count as read a minute ago, so that a repair in the same second is newer.
    run = step(step="begin", segments=1, consistent=False)["run"]
    while not step(step="load", run=run, index=0)["done"]:
        pass
    step(step="sweep", run=run)
    step(step="finish", run=run)


def ask(**request: Any) -> Any:
    """Ask the operator."""
    answer = json.loads(json.dumps(operator.handler({"request": request})))
    assert "error" not in answer, answer
    return answer["answer"]


def step(**step: Any) -> Any:
    """Have the worker take one step."""
    return json.loads(json.dumps(worker.handler(step, Time())))


def audit(_roles: Roles) -> None:
    """Compare all of the table, and repair it."""
    result = auditor.handler({}, Time())
    assert result["comparison"]["repaired"] == DISTURBED, result


def probe(_roles: Roles) -> None:
    """Write the canary, for which no replicator waits here, and look for it."""
    assert "did not have it" in canary.handler({}, Time(0.3))["error"]


def inspect(roles: Roles) -> None:
    """Ask for entries that are not there, until the table decides."""
    views = Views(load_views(os.environ["DYNAMIRROR_CONFIG"]), lambda *_: roles.views[0].schema)
    record_ = change(1, 1, order(1, **UNTIL)) | {"eventSourceARN": roles.stream}
    message = questions_of(record_, views, age=600, stage=4)
    assert judge.handler([msgspec.to_builtins(message)]) == []


WORK = {
    Role.REPLICATOR: replicate,
    Role.OPERATOR: operate,
    Role.AUDITOR: audit,
    Role.CANARY: probe,
    Role.INSPECTOR: inspect,
}


@pytest.mark.parametrize("role", WORK)
def test_a_role_is_granted_just_the_commands_that_it_sends(roles: Roles, role: Role) -> None:
    if role is Role.AUDITOR:
        roles.become(Role.OPERATOR)
        rebuild()
        roles.disturb()
    roles.become(role)
    WORK[role](roles)
    assert roles.admin.broadcast(b"ACL", b"LOG") == [[]], "nothing was refused"
    assert COMMANDS[role] - RARE == roles.sent()
    assert roles.asked == {name: CALLS[name] for name in roles.asked}


def test_the_operator_s_rights_suffice_for_a_run_with_its_rebuild(
    roles: Roles, dynamodb: EmbeddedDynamoDB
) -> None:
    roles.become(Role.OPERATOR)
    mirror = build(Settings.from_env(os.environ))
    source = (dynamodb.aws, roles.table, mirror, EventSourceMapping())
    following = Following(Follower(*source, notify=print))
    try:
        wait_until(lambda: following.ended or following.follower.why_not_ready(600) is None)
        key = b"dynamirror:{%b}:positions:*" % roles.table.encode()
        wait_until(lambda: following.ended or bool(list(keys_in(roles.admin, key.decode()))))
        assert following.error is None
    finally:
        following.stop()
        mirror.cache.close()
    assert roles.admin.broadcast(b"ACL", b"LOG") == [[]]
