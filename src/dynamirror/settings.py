"""Settings from the environment, and views from `mirror.toml`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from dynamirror.errors import ConfigError
from dynamirror.validation import Name, explain_validation_error
from dynamirror.views.keyspace import SERVERLESS_KEY_BYTES
from dynamirror.views.mirror_toml import TableSpec, parse_tables, parse_views, to_json
from dynamirror.views.view import Schema, ViewSpec

MOST_PORT = 65_535
Port = Annotated[int, msgspec.Meta(ge=1, le=MOST_PORT)]
# The certificate authorities to trust: the system's store, or Amazon's roots only.
Authorities = Literal["system", "amazon"]
# What a cache is: ElastiCache Serverless, or a replication group of nodes.
CacheKind = Literal["serverless", "node-based"]
_SECRET_ARN = re.compile(r"arn:[^:]+:secretsmanager:[^:]+:[^:]*:secret:.+")

QUARANTINE_LIMIT = 10_000
# What a new cache takes: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Scaling.html
FIRST_ECPUS = 30_000
_SERVERLESS = re.compile(
    r"\.serverless\.[\w.-]+\.cache\.amazonaws\.com(?:\.cn)?\.?$", re.IGNORECASE
)


_VARIABLES = {
    "host": "ELASTICACHE_HOST",
    "port": "ELASTICACHE_PORT",
    "tls": "ELASTICACHE_TLS",
    "authorities": "ELASTICACHE_CA",
    "ca_file": "ELASTICACHE_CA_FILE",
    "user": "ELASTICACHE_USER",
    "password_file": "ELASTICACHE_PASSWORD_FILE",
    "secret_arn": "ELASTICACHE_SECRET_ARN",
    "iam_cache": "ELASTICACHE_NAME",
    "kind": "ELASTICACHE_KIND",
    "region": "AWS_REGION",
    "timeout": "ELASTICACHE_TIMEOUT",
    "fence_ttl": "DYNAMIRROR_FENCE_TTL",
    "quarantine_limit": "DYNAMIRROR_QUARANTINE_LIMIT",
    "max_key_bytes": "ELASTICACHE_MAX_KEY_BYTES",
    "max_bytes": "ELASTICACHE_MAX_BYTES",
    "ecpus": "ELASTICACHE_ECPUS",
    "key_schema": "DYNAMIRROR_KEY_SCHEMA",
    "config": "DYNAMIRROR_CONFIG",
    "log_batches": "DYNAMIRROR_LOG_BATCHES",
    "log_sequences": "DYNAMIRROR_LOG_SEQUENCES",
}


# What others read a password from. Other processes and many a log show the environment.
_SECRETS = ("ELASTICACHE_PASSWORD", "ELASTICACHE_AUTH_TOKEN")
# What is read from the environment, or refused there; AWS_REGION is not about the cache.
CACHE_VARIABLES = (*(name for name in _VARIABLES.values() if name != "AWS_REGION"), *_SECRETS)


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=_VARIABLES.get):
    """The cache's address and how to use it; each argument begins with its environment variable.

    Args:
        host: ELASTICACHE_HOST, the cache's address.
        port: ELASTICACHE_PORT, the cache's port.
        tls: ELASTICACHE_TLS, whether to use TLS and verify the certificate.
        authorities: ELASTICACHE_CA, certificate authorities to trust: `system` for the system's
            store, `amazon` for Amazon's roots only, which load faster.
        ca_file: ELASTICACHE_CA_FILE, PEM file of authorities to trust in addition.
        user: ELASTICACHE_USER, the user to authenticate as.
        password_file: ELASTICACHE_PASSWORD_FILE, file that holds the user's password.
        secret_arn: ELASTICACHE_SECRET_ARN, ARN of the secret in Secrets Manager that holds the
            user's password, as text or as JSON with a field `password`.
        iam_cache: ELASTICACHE_NAME, the cache's name; with it, authentication is by IAM.
        kind: ELASTICACHE_KIND, what the cache is, for IAM: `serverless`, or `node-based` for a
            replication group.
        region: AWS_REGION, the region for IAM.
        timeout: ELASTICACHE_TIMEOUT, seconds to wait for one answer of the cache.
        fence_ttl: DYNAMIRROR_FENCE_TTL, seconds until a fence expires. It must exceed the 24 hours
            that a stream can replay; otherwise an old change could replace a newer one.
        quarantine_limit: DYNAMIRROR_QUARANTINE_LIMIT, items of one table that the quarantine lists;
            more are only counted.
        max_key_bytes: ELASTICACHE_MAX_KEY_BYTES, length of the longest key that the cache takes; an
            item with a longer one is quarantined. Unset, it is 4,096 for an endpoint of ElastiCache
            Serverless, and any other cache takes all keys.
        max_bytes: ELASTICACHE_MAX_BYTES, the cache's storage limit in bytes, which a table is
            compared with before a rebuild; 0 skips that. Unset, it is the `maxmemory` of the nodes.
        ecpus: ELASTICACHE_ECPUS, processing units a second that a serverless cache takes at once; a
            rebuild begins with as many, and doubles that every three minutes. 0 is no limit. Unset,
            it is 30,000 for an endpoint of ElastiCache Serverless; other caches have no limit.
        key_schema: DYNAMIRROR_KEY_SCHEMA, the table's key attributes, partition key first,
            separated by a comma; or those of several tables in JSON, as in {"orders":["pk","sk"]}.
            It is needed only for the default view of a table with a sort key, and only if
            `mirror.toml` has no such [[table]].
        config: DYNAMIRROR_CONFIG, path of `mirror.toml`, or of the `mirror.json` made from it;
            without it, the default view applies. A value with a line break or `[[` is the text of a
            `mirror.toml` itself.
        log_batches: DYNAMIRROR_LOG_BATCHES, whether the function logs each batch at level INFO;
            without it, only at DEBUG. Such lines cost more than the invocations.
        log_sequences: DYNAMIRROR_LOG_SEQUENCES, whether each line of metrics has the lowest and
            the highest sequence number of its batches.
    """

    host: Name
    port: Port = 6379
    tls: bool = True
    authorities: Authorities = "system"
    ca_file: Name | None = None
    user: Name | None = None
    password_file: Name | None = None
    secret_arn: Name | None = None
    iam_cache: Name | None = None
    kind: CacheKind = "serverless"
    region: Name | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    fence_ttl: Annotated[int, msgspec.Meta(ge=90_000, le=31_536_000)] = 93_600
    quarantine_limit: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = QUARANTINE_LIMIT
    max_key_bytes: Annotated[int, msgspec.Meta(ge=64, le=536_870_912)] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    ecpus: Annotated[int, msgspec.Meta(ge=0, le=15_000_000)] | None = None
    key_schema: Name | None = None
    config: Name | None = None
    log_batches: bool = False
    log_sequences: bool = False

    def __post_init__(self) -> None:
        self._declared()
        if "@" in self.host:  # the rest may be a password, which no sentence repeats
            raise ValueError(
                "ELASTICACHE_HOST is not a host name; ELASTICACHE_USER names a user, and "
                "ELASTICACHE_PASSWORD_FILE the file with the password"
            )
        if self.iam_cache and not (self.user and self.region and self.tls):
            raise ValueError(
                "ELASTICACHE_NAME asks for IAM authentication, which needs ELASTICACHE_USER, "
                "AWS_REGION and TLS"
            )
        ways = {
            "ELASTICACHE_NAME (IAM)": self.iam_cache,
            "ELASTICACHE_PASSWORD_FILE": self.password_file,
            "ELASTICACHE_SECRET_ARN": self.secret_arn,
        }
        chosen = [name for name, value in ways.items() if value]
        if self.user and not chosen:
            first, second, third = ways
            raise ValueError(f"ELASTICACHE_USER goes with {first}, {second} or {third}; set one")
        if len(chosen) > 1:
            raise ValueError(f"{chosen[0]} and {chosen[1]} exclude each other; unset one")
        if self.secret_arn and not _SECRET_ARN.fullmatch(self.secret_arn):
            raise ValueError(
                "ELASTICACHE_SECRET_ARN must be an ARN like "
                "arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME"  # not what may be the secret
            )
        if self.secret_arn and not self.tls:
            raise ValueError("ELASTICACHE_SECRET_ARN needs TLS, so that nobody reads the password")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables; empty ones count as unset.

        Raises:
            ConfigError: a variable is missing or wrong, or holds a secret; names it.
        """
        for name in _SECRETS:
            if env.get(name):
                raise ConfigError(
                    f"environment: {name}: a secret does not belong into the environment; write it "
                    "to a file that ELASTICACHE_PASSWORD_FILE names, or use ELASTICACHE_SECRET_ARN "
                    "or IAM"
                )
        known = {name: env[name] for name in _VARIABLES.values() if env.get(name)}
        for name, value in known.items():
            if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise ConfigError(f"environment: {name}: is not text in UTF-8")
        try:
            return msgspec.convert(known, cls, strict=False)
        except msgspec.ValidationError as error:
            sentence = explain_validation_error(str(error), tuple(_VARIABLES.values()))
            name, _, _ = sentence.partition(": must be ")
            value = f", not {known[name]!r}" if name in known else ""
            raise ConfigError(f"environment: {sentence}{value}") from None

    def to_env(self) -> dict[str, str]:
        """Return the environment variables for these settings."""
        return {
            _VARIABLES[name]: str(value).lower() if isinstance(value, bool) else str(value)
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None
        }

    @property
    def longest_key(self) -> int | None:
        """Return the length of the longest key that the cache takes, in bytes; None for any."""
        if self.max_key_bytes is None and self.is_serverless:
            return SERVERLESS_KEY_BYTES
        return self.max_key_bytes

    @property
    def first_ecpus(self) -> int | None:
        """Return the units a second that a rebuild begins with; None for no limit."""
        if self.ecpus is None and self.is_serverless:
            return FIRST_ECPUS
        return self.ecpus or None

    def shared_by(self, tables: int) -> "Settings":
        """Return the settings for tables that may be rebuilt into one cache at the same time.

        Args:
            tables: how many tables.
        """
        first = self.first_ecpus
        return (
            self if first is None else msgspec.structs.replace(self, ecpus=max(1, first // tables))
        )

    @property
    def is_serverless(self) -> bool:
        """Return whether the host is an endpoint of ElastiCache Serverless."""
        return _SERVERLESS.search(self.host) is not None

    def views(self) -> tuple[ViewSpec, ...]:
        """Read the views; keys that are too long for the cache are none of theirs.

        Raises:
            ConfigError: the file cannot be read or is malformed.
        """
        longest = self.longest_key
        return tuple(
            msgspec.structs.replace(spec, max_key_bytes=longest) for spec in load_views(self.config)
        )

    def declared_schema(self, table: str) -> Schema | None:
        """Return the table's schema, if DYNAMIRROR_KEY_SCHEMA or `mirror.toml` declares it."""
        declared = self._declared()
        if keys := declared.get(table) or declared.get(""):
            return Schema(table, tuple(keys))
        tables = load_tables(self.config)
        return next((spec.schema for spec in tables if spec.name == table), None)

    def _declared(self) -> dict[str, list[Name]]:
        """Return the keys that DYNAMIRROR_KEY_SCHEMA declares, by table; "" is any table.

        Raises:
            ValueError: it is malformed.
        """
        text = self.key_schema or ""
        if text.startswith("{"):
            try:
                return msgspec.json.decode(text, type=dict[str, list[Name]])
            except msgspec.DecodeError as error:
                raise ValueError(
                    f'DYNAMIRROR_KEY_SCHEMA is not like {{"orders":["pk","sk"]}}: {error}'
                ) from None
        names = [name.strip() for name in text.split(",")] if text else []
        if not all(names):
            raise ValueError(
                "DYNAMIRROR_KEY_SCHEMA holds an empty name; write the table's key attributes "
                "separated by a comma, as in pk,sk"
            )
        return {"": names} if names else {}


def load_views(config: str | None) -> tuple[ViewSpec, ...]:
    """Read the views of a `mirror.toml` or `mirror.json`; without one, the default view.

    Args:
        config: path of the file, or the text of a `mirror.toml`, as for DYNAMIRROR_CONFIG.

    Raises:
        ConfigError: the file cannot be read or is malformed.
    """
    return (ViewSpec(),) if config is None else parse_views(text_of(config), source_of(config))


def load_json(path: str) -> bytes:
    """Read and check a `mirror.toml`, and return it as the `mirror.json` of the functions.

    Raises:
        ConfigError: the file cannot be read or is malformed.
    """
    return to_json(read_text(path), path)


def load_tables(config: str | None) -> tuple[TableSpec, ...]:
    """Read the tables of a `mirror.toml` or `mirror.json`; none if there is no such file.

    Args:
        config: path of the file, or the text of a `mirror.toml`, as for DYNAMIRROR_CONFIG.

    Raises:
        ConfigError: the file cannot be read or is malformed.
    """
    return () if config is None else parse_tables(text_of(config), source_of(config))


def source_of(config: str) -> str:
    """Return how messages name a configuration: by its path, or the variable that holds it."""
    return "DYNAMIRROR_CONFIG" if _is_text(config) else config


def text_of(config: str) -> str:
    """Return the text of a configuration: itself, or the content of the file that it names.

    Raises:
        ConfigError: the file cannot be read, or holds no UTF-8.
    """
    return config if _is_text(config) else read_text(config)


def _is_text(config: str) -> bool:
    return "\n" in config or "[[" in config


def read_text(path: str) -> str:
    """Return the text of a file.

    Raises:
        ConfigError: the file cannot be read, or holds no UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
