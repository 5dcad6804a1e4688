"""`view check --indexes` against a table with indexes of its own."""

import sys
from pathlib import Path
from uuid import uuid4

import pytest

from dynamirror.cli import main
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB


def test_view_check_proposes_views_in_place_of_a_table_s_indexes(
    dynamodb: EmbeddedDynamoDB,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = f"t-{uuid4().hex[:12]}"
    dynamodb.aws.dynamodb().create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "city", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": name,
                "KeySchema": [{"AttributeName": "city", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for name in ("by-city", "cities")
        ],
    )
    (path := tmp_path / "mirror.toml").write_text(
        f'[[view]]\nname = "cities"\nindex = {{ partition = "city" }}\n'
        f'[[table]]\nname = "{table}"\nkeys = {{ id = "S" }}\n'
    )
    words = ["view", "check", str(path), "--indexes", "--endpoint-url", dynamodb.endpoint_url]
    monkeypatch.setattr(sys, "argv", ["dynamirror", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    output = capsys.readouterr().out
    assert not caught.value.code
    assert "# cities: it has all attributes, and the table's index has city, id" in output
    assert (
        f'[[view]]\nname = "by-city"\ntable = "{table}"\nindex = {{ partition = "city" }}\n'
        'include = ["city"]\n'
    ) in output
