"""aioboto3 with the botocore that it pins, which is older than the emulator's."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.mirrored import MakeMirrored

from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB
from dynamirror.views.mirror_toml import parse_views

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / ".venv/aioboto3"
VIEWS = """
[[view]]
encoding = "dynamodb-json"
collection = true
"""


def test_aioboto3_reads_from_the_cache_in_its_event_loop(
    make: MakeMirrored, dynamodb: EmbeddedDynamoDB, tmp_path: Path
) -> None:
    assert (PACKAGES / ".installed").exists(), "run make .venv/aioboto3/.installed"
    world = make(*parse_views(VIEWS), keys={"pk": "S", "sk": "N"})
    items = [{"pk": "a", "sk": number, "n": number} for number in range(5)]
    world.put(*items)
    world.mirror(*({"pk": "a", "sk": number} for number in range(5)))
    world.is_complete()
    views = tmp_path / "mirror.toml"
    views.write_text(VIEWS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "tests/clients/attached.py"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{PACKAGES}{os.pathsep}{ROOT / 'src'}",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.endpoint_url,
            "DYNAMODB_TABLE": world.name,
            "DYNAMIRROR_CONFIG": os.fspath(views),
            **world.settings.to_env(),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result == {
        "table": "cache",
        "missing": "table",
        "query": "cache",
        "detached": "table",
        "client": "cache",
        "pages": [2, 2, 1],
        "sources": ["cache"],
        "reader": ["cache", "table"],
        "threads": ["MainThread"],
        "botocore": "1.40.61",
    }
