"""The programs in docs/reading.md run as they are shown, against a mirror."""

import ast
import asyncio
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import get_session
from tests.support.written_docs import ROOT, blocks

from dynamirror import AsyncReader, Reader, Settings
from dynamirror.cache.client import Cache
from dynamirror.testing.mirror import Mirror

VIEWS = """
[[view]]
name = "by-day"
table = "orders"
key = "{table}:{{{pk}}}:{sk}"
encoding = "dynamodb-json"
collection = true
[[view]]
table = "users"
key = "{table}:{pk}:{sk}"
[[table]]
name = "orders"
keys = { pk = "S", sk = "N" }
[[table]]
name = "users"
keys = { pk = "S", sk = "N" }
"""
SHOWN = 'Settings(host="my-cache.example.com", config="mirror.toml")'


@pytest.fixture
def mirror_config(tmp_path: Path) -> Path:
    """Return the views that the page presumes."""
    path = tmp_path / "mirror.toml"
    path.write_text(VIEWS, encoding="utf-8")
    return path


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, dynamodb: Any, mirror: Mirror) -> Iterator[Any]:
    """Return what the programs define, and close their readers and caches."""
    monkeypatch.setenv("DYNAMODB_TABLE", "orders")
    table = dynamodb.Table("orders")
    table.put_item(Item={"pk": "c1", "sk": 7, "total": Decimal("12.5")})
    table.put_item(Item={"pk": "c1", "sk": 8})
    mirror.wait()
    defined: dict[str, Any] = {"table": table, "ours": Settings.from_env(os.environ)}
    yield defined
    for value in (*defined.values(), defined["shared"]["cache"]):
        if isinstance(value, Reader | Cache):
            value.close()


def test_the_programs_of_the_page_run_in_their_order(names: dict[str, Any]) -> None:
    page = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    page = page.partition("\n## Connect any client to ElastiCache\n")[0]  # tests/clients has these
    programs = [block.text for block in blocks(page) if block.language == "python"]
    assert len(programs) == 6
    assert sum(SHOWN in program for program in programs) == 1
    *programs, coroutine = programs
    for program in programs:
        exec(program.replace(SHOWN, "ours"), names)  # noqa: S102 - our own page
    assert names["item"] == {"pk": "c1", "sk": 7, "total": Decimal("12.5")}
    assert names["answer"]["ResponseMetadata"]["dynamirror"]["source"] == "cache"
    answer = asyncio.run(answer_of(coroutine, names))
    assert answer["Item"] == {"pk": "c1", "sk": 7}
    assert answer["ResponseMetadata"]["dynamirror"]["source"] == "cache"


async def answer_of(program: str, names: dict[str, Any]) -> Any:
    """Return the answer that a program awaits, with a client of aiobotocore."""
    code = compile(program, "docs/reading.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with get_session().create_client("dynamodb") as client:
        own = {"settings": names["ours"], "AsyncReader": AsyncReader, "client": client}
        await eval(code, own)  # noqa: S307 - our own page
        return own["answer"]
