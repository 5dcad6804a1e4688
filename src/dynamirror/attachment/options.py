"""The arguments of an attachment."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.cache.client import Cache
from dynamirror.errors import ConfigError
from dynamirror.reader.mirrors import ON_MISS, OnMiss
from dynamirror.settings import Settings
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import Schema, ViewSpec

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

MinTime = float | Callable[[], float] | Literal["own-writes"] | None


class Options(NamedTuple):
    """The arguments of `attach`, without the target; two attachments with equal ones are one."""

    settings: Settings
    specs: tuple[ViewSpec, ...]
    tables: frozenset[str] | None
    view: str | None
    on_miss: OnMiss
    max_age: float | None
    min_time: MinTime
    shadow: float
    failures: int
    pause: float
    schemas: tuple[Schema, ...]
    cache: Cache | AsyncCache | None
    registry: "CollectorRegistry | None"


def check(options: Options) -> None:
    """Refuse arguments that no attachment can have.

    Raises:
        ConfigError: one is wrong; names it.
    """
    if options.on_miss not in ON_MISS:
        raise ConfigError(f"on_miss: must be 'table' or 'absent', not {options.on_miss!r}")
    if not 0 <= options.shadow <= 1:
        raise ConfigError(f"shadow: must be a share from 0 to 1, not {options.shadow!r}")
    if options.max_age is not None and not options.max_age > 0:
        raise ConfigError(f"max_age: must be a number of seconds, not {options.max_age!r}")
    if isinstance(options.min_time, str) and options.min_time != "own-writes":
        raise ConfigError(
            f"min_time: must be a time, what returns one, or 'own-writes', not {options.min_time!r}"
        )
    if any(not schema.types for schema in options.schemas):
        raise ConfigError("schemas: must have the types of their keys")
    names = [spec.name for spec in options.specs]
    if options.view is not None and options.view not in names:
        raise ConfigError(f"view: must be one of {', '.join(names)}, not {options.view!r}")
    chosen = [spec for spec in options.specs if options.view in (None, spec.name)]
    if not any(spec.encoding is DYNAMODB_JSON for spec in chosen):
        raise ConfigError(
            f"the views {', '.join(spec.name for spec in chosen)} keep no types, so that they "
            'cannot answer as DynamoDB does; have a view with encoding = "dynamodb-json"'
        )
