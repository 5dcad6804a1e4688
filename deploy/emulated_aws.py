"""Emulated AWS with a real Valkey behind its ElastiCache."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3

from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.process import HOST, ServerProcess, answers
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.settings import Settings

REGION = "us-east-1"
ACCOUNT = "000000000000"  # the emulator's

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Emulator:
    """Describe how to reach emulated AWS.

    Args:
        endpoint_url: URL of the emulator.
        access_key: access key of this run only, because CDK caches accounts by access key.
        cache: settings of the Valkey behind the emulated ElastiCache.
    """

    endpoint_url: str
    access_key: str
    cache: Settings

    @property
    def aws(self) -> Aws:
        """The mirror's own clients."""
        return Aws(REGION, self.endpoint_url, (self.access_key, "local"))

    def client(self, service: str) -> Any:
        """Return one of boto3's clients, which is made once."""
        return _client(service, self.endpoint_url, self.access_key)

    def environment(self) -> dict[str, str]:
        """Return environment variables that direct AWS clients to the emulator."""
        return {
            **os.environ,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@cache
def _client(service: str, endpoint_url: str, access_key: str) -> Any:
    make: Any = boto3.Session(access_key, "local", region_name=REGION).client
    return make(service, endpoint_url=endpoint_url)


@contextmanager
def emulated(folder: Path) -> Iterator[Emulator]:
    """Run emulated AWS with a real Valkey behind its ElastiCache.

    Args:
        folder: folder for the emulator's files.
    """
    with ExitStack() as running:
        valkey = running.enter_context(EmbeddedValkey(cluster=False))
        server = ServerProcess(
            "ministack",
            lambda _port, _folder: [sys.executable, str(ROOT / "deploy/emulator.py")],
            env=lambda port: {
                # The default is every address.
                "BIND_HOST": HOST,
                "GATEWAY_PORT": str(port),
                "REDIS_HOST": HOST,
                "REDIS_PORT": str(valkey.port),
                # The functions inherit this.
                "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
                "S3_DATA_DIR": str(folder / "s3"),
            },
            ready=answers,
        )
        running.callback(server.stop)
        yield Emulator(
            f"http://{HOST}:{server.port}", f"local{secrets.token_hex(8)}", valkey.settings()
        )
