"""What an application attaches: the event emitter of its calls, and how to describe a table."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from dynamirror.errors import ConfigError

_SERVICE: Final = "dynamodb"
_KINDS: Final = (
    "boto3's Table, resource, client or Session for DynamoDB, botocore's client or session, or a "
    "model or connection of PynamoDB"
)

# The place of a call: region and URL of the client, where a session has several.
Place = tuple[str, str] | None


class Target(NamedTuple):
    """What calls are answered for.

    Args:
        emitter: the events of these calls.
        tables: names of the tables; None for all.
        client: makes, or returns, the client that describes tables of a place.
        of_session: whether clients of several places share the emitter.
    """

    emitter: Any
    tables: frozenset[str] | None
    client: Callable[[Place, Any], Any]
    of_session: bool = False


def resolve(target: Any) -> Target:
    """Return what to attach for what an application has.

    Raises:
        ConfigError: it is none of the kinds that can be attached, or of another service.
    """
    packages = {kind.__module__.partition(".")[0] for kind in _type(target).__mro__}
    if "pynamodb" in packages:
        return _of_pynamodb(target)
    meta = getattr(target, "meta", None)
    if meta is not None and hasattr(meta, "client"):  # a resource of boto3
        _check_service(meta.service_name)
        kind = meta.resource_model.name if hasattr(target, "load") else ""
        if kind not in ("", "Table"):  # such as a backup
            raise ConfigError(f"target: must be {_KINDS}, not a {kind}")
        return _of_client(meta.client, frozenset({target.name}) if kind else None)
    if meta is not None and hasattr(meta, "service_model"):
        _check_service(meta.service_model.service_name)
        return _of_client(target)
    if hasattr(target, "get_available_services"):  # a session of boto3 or botocore
        return _of_session(target)
    raise ConfigError(f"target: must be {_KINDS}, not {_type(target).__name__}")


def _type(target: Any) -> type:
    return target if isinstance(target, type) else type(target)


def _check_service(name: str) -> None:
    if name != _SERVICE:
        raise ConfigError(f"target: must be {_KINDS}, not one of {name}")


def _of_client(client: Any, tables: frozenset[str] | None = None) -> Target:
    return Target(client.meta.events, tables, lambda _place, _config: client)


def _of_session(session: Any) -> Target:
    inner = getattr(session, "_session", session)
    make = inner.create_client

    def client(place: Place, config: Any) -> Any:
        assert place is not None
        region, url = place
        return make(_SERVICE, region_name=region, endpoint_url=url, config=config)

    return Target(inner.get_component("event_emitter"), None, client, of_session=True)


def _of_pynamodb(target: Any) -> Target:
    # A model makes its connection at its first call.
    connection = getattr(target, "_get_connection", lambda: target)()
    name = getattr(connection, "table_name", None)
    inner = getattr(connection, "connection", connection)
    return _of_client(inner.client, None if name is None else frozenset({name}))


def is_asynchronous(emitter: Any) -> bool:
    """Return whether an emitter awaits its handlers, as that of aiobotocore and aioboto3 does."""
    inner = getattr(emitter, "_emitter", emitter)
    return type(inner).__module__.startswith("aiobotocore.")


def place_of(params: Mapping[str, Any], context: Mapping[str, Any]) -> Place:
    """Return the place of a call of a session's client."""
    return context["client_region"], params["url"]
