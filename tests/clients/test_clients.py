"""The programs of docs/reading.md connect as the reader, over TLS, and read."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import botocore.auth
import pytest
from botocore.credentials import Credentials
from tests.support.deadlines import wait_until
from tests.support.node import NODE, link_packages, run_node
from tests.support.tls import make_certificate, tls_proxy
from tests.support.written_docs import ROOT, blocks, section

from dynamirror.cache.acl import Role, access_string
from dynamirror.cache.client import Cache
from dynamirror.cache.iam import IamToken
from dynamirror.cache.writer import apply
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.encoding import HASH
from dynamirror.views.entry import entry_of_row
from dynamirror.views.mirror_toml import check_views
from dynamirror.views.view import Schema, ViewSpec

HERE = Path(__file__).parent
# As in ElastiCache, the certificate is for the name that the cluster announces. Python's cluster
# clients replace `localhost`, in this spelling only, by its address.
HOST = "LocalHost"
ANNOUNCED = (
    *("--cluster-preferred-endpoint-type", "hostname"),
    *("--cluster-announce-hostname", HOST, "--cluster-announce-ip", "127.0.0.1"),
)
# Clients, and the titles of their programs.
CLIENTS = {
    "redis-py": "redis-py",
    "valkey-py": "valkey-py",
    "glide": "GLIDE for Python",
    "ioredis": "ioredis and iovalkey",
    "iovalkey": "ioredis and iovalkey",
    "node-redis": "node-redis",
    "glide-node": "GLIDE for Node",
}
PYTHON = {"redis-py", "valkey-py", "glide"}
RENEWING = {"glide", "ioredis", "iovalkey", "glide-node"}
KINDS = [
    *(f"{name} {kind}" for name in ("redis-py", "valkey-py") for kind in ("cluster", "single")),
    *(
        f"{name} asyncio {kind}"
        for name in ("redis-py", "valkey-py")
        for kind in ("cluster", "single")
    ),
    *("glide asyncio", "glide synchronous", "ioredis", "iovalkey", "node-redis", "glide-node"),
]
READ = {
    "entry": '{"id":"7","name":"Eve"}',
    "hash": {"id": "7", "name": "Eve"},
    "members": ["2026-01-01", "2026-01-02"],
}
SECONDS = 120
USERS = (ViewSpec("json", key="users:{id}"), ViewSpec("hash", key="hash:{id}", encoding=HASH))
ORDERS = ViewSpec(key="orders:{{{pk}}}:{sk}", collection=True)


def program(title: str) -> str:
    """The program in a section of the page."""
    page = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    (block,) = blocks(section(page, title))
    return block.text


@dataclass(frozen=True)
class Cluster:
    """A cluster of one node behind TLS.

    Args:
        port: the port of TLS.
        certificate: the file of its certificate.
        admin: the node without limits.
        access: the access string that is deployed for readers.
        folder: for files.
    """

    port: int
    certificate: Path
    admin: Cache
    access: str
    folder: Path

    def user(self, name: str, access: str) -> None:
        """Make a user, with the first password."""
        rules = (b"reset", b">first", *access.encode().split())
        self.admin.broadcast(b"ACL", b"SETUSER", name.encode(), *rules)

    def refused(self) -> set[tuple[str, str]]:
        """Which commands were refused to which users."""
        (entries,) = self.admin.broadcast(b"ACL", b"LOG", b"1000")
        fields = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in entries]
        return {(one[b"username"].decode(), one[b"object"].decode()) for one in fields}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster, with entries of two tables."""
    folder = tmp_path_factory.mktemp("clients")
    certificate, key = make_certificate(folder, "DNS:localhost", authority=False)
    with EmbeddedValkey(options=ANNOUNCED) as server, ExitStack() as stack:
        port = stack.enter_context(tls_proxy(server.port, certificate, key))
        admin = Cache(server.settings(timeout=30), single=True)
        stack.callback(admin.close)
        admin.broadcast(b"CONFIG", b"SET", b"cluster-announce-port", str(port).encode())
        yield Cluster(port, certificate, admin, filled(admin), folder)


def filled(admin: Cache) -> str:
    """Fill the cache; return the access string that is deployed for readers."""
    users, orders = Schema("users", ("id",), ("S",)), Schema("orders", ("pk", "sk"), ("S", "S"))
    user = {"id": {"S": "7"}, "name": {"S": "Eve"}}
    rows = [entry_of_row(spec.bind(users), user, user, SnapshotVersion(1)) for spec in USERS]
    for day in ("2026-01-01", "2026-01-02"):
        order = {"pk": {"S": "c1"}, "sk": {"S": day}}
        rows.append(entry_of_row(ORDERS.bind(orders), order, order, SnapshotVersion(1)))
    assert apply(admin, filter(None, rows), fence_ttl=93_600).applied == len(rows)
    patterns = [
        *check_views(USERS, "users", users.keys, "NEW_AND_OLD_IMAGES"),
        *check_views([ORDERS], "orders", orders.keys, "NEW_AND_OLD_IMAGES"),
    ]
    return access_string(Role.READER, patterns=patterns, tables=["users", "orders"])


class Client:
    """A process that reads as one client.

    Args:
        cluster: what it reads from.
        client: the client's name.
        access: the access string of its user; None for the deployed one.
    """

    def __init__(self, cluster: Cluster, client: str, access: str | None = None) -> None:
        self._cluster, self.client = cluster, client
        self.user = f"reader-{client}" if access is None else f"less-{client}"
        cluster.user(self.user, access or cluster.access)
        self._folder = cluster.folder / self.user
        self._folder.mkdir(exist_ok=True)
        self._password = self._folder / "password"
        self._password.write_text("first", encoding="utf-8")
        self._handed_out = self._folder / "handed-out"
        self._errors = self._folder / "errors"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                self._command(),
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._timer = threading.Timer(SECONDS, self._process.kill)
        self._timer.start()

    def _command(self) -> list[str]:
        text = program(CLIENTS[self.client])
        if self.client in PYTHON:
            path = self._folder / "program.py"
            path.write_text(text, encoding="utf-8")
            return [sys.executable, str(HERE / "reading.py"), self.client, str(path)]
        path = self._folder / "program.mjs"
        path.write_text(text.replace('"ioredis"', f'"{self.client}"'), encoding="utf-8")
        link_packages(self._folder)
        (self._folder / "token.mjs").write_bytes((HERE / "token.mjs").read_bytes())
        return [str(NODE), str(HERE / "reading.mjs"), self.client, str(path)]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ELASTICACHE_HOST": HOST,
            "ELASTICACHE_PORT": str(self._cluster.port),
            "ELASTICACHE_USER": self.user,
            "ELASTICACHE_NAME": "cache",
            "AWS_REGION": "us-east-1",
            "NODE_EXTRA_CA_CERTS": str(self._cluster.certificate),
            "SSL_CERT_FILE": str(self._cluster.certificate),
            "PASSWORD_FILE": str(self._password),
            "HANDED_OUT": str(self._handed_out),
        }

    def answer(self) -> dict[str, Any]:
        """What it read; raises with its errors if it ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # GLIDE logs to the same place
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise AssertionError(f"{self.client}: {self._errors.read_text(encoding='utf-8')}")

    def read_again(self) -> None:
        """Have it read again."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def change_password(self) -> None:
        """Take back its token, and close its connections."""
        self._password.write_text("second", encoding="utf-8")
        if self.client in RENEWING:
            connections = 2 if self.client == "glide" else 1
            wait_until(lambda: self._handed_out.read_text().count("second") == connections)
        broadcast, user = self._cluster.admin.broadcast, self.user.encode()
        broadcast(b"ACL", b"SETUSER", user, b">second", b"<first")
        broadcast(b"CLIENT", b"KILL", b"USER", user)

    def end(self) -> None:
        """End it."""
        self._timer.cancel()
        self._process.kill()
        self._process.communicate()


def answers(clients: Sequence[Client]) -> dict[str, Any]:
    """What all clients read, by client and kind."""
    return {kind: read for client in clients for kind, read in client.answer().items()}


def test_every_client_reads_as_the_reader_and_again_with_a_new_token(cluster: Cluster) -> None:
    cluster.admin.broadcast(b"ACL", b"LOG", b"RESET")
    with ExitStack() as stack:
        clients = [Client(cluster, name) for name in CLIENTS]
        for client in clients:
            stack.callback(client.end)
        for again in (False, True):
            for client in clients if again else ():
                client.change_password()
                client.read_again()
            read = answers(clients)
            refused = [answer.pop("refused") for answer in read.values()]
            assert all("no permissions to run the 'set' command" in reason for reason in refused)
            assert read == dict.fromkeys(KINDS, READ)
            # Not even what a client does without.
            expected = {(client.user, "set") for client in clients}
            # The first token, by a client that had no time to see that it lost its connection.
            assert {one for one in cluster.refused() if one[1] not in ("AUTH", "HELLO")} == expected


@pytest.mark.parametrize(
    ("command", "client"),
    [
        ("client|setinfo", "ioredis"),
        ("client|setname", "iovalkey"),
        ("cluster|info", "ioredis"),
        ("cluster|slots", "node-redis"),
        ("command", "valkey-py"),
        ("info", "iovalkey"),
        ("ping", "glide-node"),
    ],
)
def test_what_readers_are_granted_for_connecting_is_sent_by_a_client(
    cluster: Cluster, command: str, client: str
) -> None:
    cluster.admin.broadcast(b"ACL", b"LOG", b"RESET")
    process = Client(cluster, client, cluster.access.replace(f" +{command}", ""))
    try:
        wait_until(lambda: (process.user, command) in cluster.refused())
    finally:
        process.end()


def test_node_signs_the_token_that_python_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token.mjs").write_text(program("Sign a token"), encoding="utf-8")
    environment = {
        "ELASTICACHE_NAME": "My-Cache",
        "ELASTICACHE_USER": "reader-1",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "AWS_SESSION_TOKEN": "a/session+token=",
    }
    call = 'import("./token.mjs").then(async (m) => console.log(await m.token()))'
    printed = run_node(tmp_path, "-e", call, env=environment)
    host, _, query = printed.strip().partition("/?")
    of_node = parse_qs(query)
    at = datetime.strptime(of_node["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda **_options: at)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    credentials = Credentials(*(environment[name] for name in names))
    signed = IamToken("reader-1", "My-Cache", "eu-west-1", lambda: credentials).sign()
    assert (host, of_node) == (signed.partition("/?")[0], parse_qs(signed.partition("/?")[2]))
