"""The deployed users may do what tells an unknown error of one record from the server's."""

from contextlib import closing
from pathlib import Path

import pytest
from tests.support.builders import item, view
from tests.support.serverless import Serverless

from dynamirror.cache.acl import Role, access_string
from dynamirror.cache.client import Cache
from dynamirror.cache.writer import apply
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import ChangeVersion
from dynamirror.settings import Settings
from dynamirror.views.entry import Put
from dynamirror.views.view import ViewSpec


@pytest.mark.parametrize("role", [Role.REPLICATOR, Role.OPERATOR, Role.AUDITOR])
@pytest.mark.parametrize("key", ["users:{id}", "users:{{{id}}}"])
def test_an_unknown_error_is_quarantined_with_the_rights_of_each_writing_role(
    single_valkey: EmbeddedValkey, tmp_path: Path, role: Role, key: str
) -> None:
    password = tmp_path / "password"
    password.write_text("p", encoding="utf-8")
    rules = access_string(role, patterns=["users:*"], tables=["users"]).encode().split()
    bound, odd = view(ViewSpec(key=key)), item("a", name="odd")
    entry_key = bound.key_of(odd)
    assert entry_key is not None
    put = Put(bound, entry_key, ChangeVersion(1, 1, 1), odd)
    with Serverless(single_valkey.port) as proxy, closing(Cache(single_valkey.settings())) as admin:
        # The proxy answers by EVAL.
        admin.broadcast(b"ACL", b"SETUSER", b"mirror", b"reset", b">p", *rules, b"+eval")
        proxy.refusals[b"odd"] = "ERR this is not for me"
        settings = Settings(
            host="127.0.0.1",
            port=proxy.port,
            tls=False,
            user="mirror",
            password_file=str(password),
        )
        with closing(Cache(settings)) as limited:
            report = apply(limited, [put], fence_ttl=60)
        admin.broadcast(b"ACL", b"DELUSER", b"mirror")
    assert (len(report.quarantined), report.failed) == (1, [])
