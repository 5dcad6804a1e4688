"""A table and a cache for tests of the command line."""

from pathlib import Path

from tests.support.processes import environment
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey


class TableAndCache:
    """A table, a cache, and the environment of a command that names both."""

    def __init__(
        self, server: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, folder: Path
    ) -> None:
        self.source = Source(server)
        self.cache = cache
        self.env = environment(
            folder,
            AWS_ENDPOINT_URL=server.endpoint_url,
            DYNAMODB_TABLE=self.source.name,
            **valkey.settings().to_env(),
        )
