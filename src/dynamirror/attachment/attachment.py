"""`attach` and `detach`: DynamoDB's reads of an existing client, answered by its mirror."""

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from itertools import count
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakSet

from dynamirror.attachment.calls import Calls, min_time_of
from dynamirror.attachment.counts import Counts, OperationCounts
from dynamirror.attachment.gate import Gate
from dynamirror.attachment.handlers import (
    READ_OPERATIONS,
    WRITE_OPERATIONS,
    Handlers,
    Reply,
    is_seen,
)
from dynamirror.attachment.later import Later
from dynamirror.attachment.options import MinTime, Options, check
from dynamirror.attachment.own_writes import OwnWrites
from dynamirror.attachment.tables import Tables, table_names
from dynamirror.attachment.targets import (
    Place,
    Target,
    is_asynchronous,
    place_of,
    resolve,
)
from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.cache.client import Cache
from dynamirror.errors import ConfigError
from dynamirror.reader.mirrors import MirroredTable, OnMiss
from dynamirror.reader.steps import Steps, TableRequest, run
from dynamirror.settings import Settings, load_views
from dynamirror.views.view import Schema, View, ViewSpec

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_numbers = count(1)
# Set on an emitter; a copy of the emitter lacks it.
_ATTACHED: Final = "_dynamirror_attached"


class Attachment(ABC):
    """Calls of a client that the cache answers; `attach` makes it.

    Args:
        target: whose calls they are.
        options: the arguments of `attach`.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self.options = options
        self._target = target
        self._id = f"dynamirror-attached-{next(_numbers)}"
        self._is_attached = False
        self._counts = Counts()
        self._handlers = Handlers(self._counts, shadow=options.shadow)
        self._calls: dict[Place, Calls] = {}
        self.renew()
        if options.registry is not None:
            from dynamirror.attachment.metrics import register  # noqa: PLC0415 - few have it

            register(options.registry, self._counts)
        _attachments.add(self)

    def renew(self) -> None:
        """Begin again in a forked process: locks may be held by threads that it does not have."""
        self._lock = Lock()
        self._counts.renew_lock()
        for calls in self._calls.values():
            calls.tables.renew_lock()
            if calls.own_writes is not None:
                calls.own_writes.renew_lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()

    @property
    def counts(self) -> dict[str, OperationCounts]:
        """Return the outcomes of the calls so far, by operation."""
        return self._counts.by_operation()

    @property
    def faults(self) -> int:
        """Return the number of exceptions of this package so far, none of which a caller saw."""
        return self._counts.faults

    def attach(self) -> None:
        """Register the handlers."""
        emitter = self._target.emitter
        # Behind the handlers of others, so that a stubbed answer stays one.
        emitter.register_last(
            "before-call.dynamodb", self._before_call, unique_id=f"{self._id}-before"
        )
        # Before those of boto3, which convert the answer's values.
        for operation in sorted(READ_OPERATIONS | WRITE_OPERATIONS):
            emitter.register_first(
                f"after-call.dynamodb.{operation}",
                self._after_call,
                unique_id=f"{self._id}-after-{operation}",
            )
        emitter.register(
            "after-call-error.dynamodb", self._after_error, unique_id=f"{self._id}-error"
        )
        _attached_to(emitter).append(self)
        self._is_attached = True

    def detach(self) -> None:
        """Have DynamoDB answer all calls again, also of clients that a session made meanwhile."""
        emitter = self._target.emitter
        self._is_attached = False
        emitter.unregister("before-call.dynamodb", unique_id=f"{self._id}-before")
        for operation in READ_OPERATIONS | WRITE_OPERATIONS:
            emitter.unregister(
                f"after-call.dynamodb.{operation}", unique_id=f"{self._id}-after-{operation}"
            )
        emitter.unregister("after-call-error.dynamodb", unique_id=f"{self._id}-error")
        with suppress(ValueError):
            _attached_to(emitter).remove(self)
        self._end()

    @abstractmethod
    def _end(self) -> None:
        """Close what the attachment has opened."""

    @abstractmethod
    def _before_call(
        self, *, model: Any, params: dict[str, Any], context: dict[str, Any], **_rest: Any
    ) -> Any:
        """Return the reply to a call, or None, or a coroutine of either."""

    @abstractmethod
    def _after_call(
        self, *, http_response: Any, parsed: dict[str, Any], context: dict[str, Any], **_rest: Any
    ) -> Any:
        """Complete DynamoDB's answer."""

    def _after_error(self, *, context: dict[str, Any], **_rest: Any) -> None:
        self._handlers.failed(context)

    def _fault(self, error: Exception, operation: str, calls: Calls | None) -> None:
        """Take note of an exception of this package."""
        if calls is not None and calls.own_writes is not None and operation in WRITE_OPERATIONS:
            calls.own_writes.block("")
        self._handlers.fault(error)

    def _handles(self, operation: str) -> bool:
        return self._is_attached and (
            operation in READ_OPERATIONS
            or (operation in WRITE_OPERATIONS and self.options.min_time == "own-writes")
        )

    def _calls_of(self, place: Place) -> Calls:
        calls = self._calls.get(place)
        if calls is None:
            with self._lock:
                calls = self._calls.get(place) or self._new_calls()
                self._calls[place] = calls
        return calls

    def _new_calls(self) -> Calls:
        options = self.options
        own_writes = OwnWrites() if options.min_time == "own-writes" else None

        def mirrored(schema: Schema, views: Sequence[View], arn: str) -> MirroredTable:
            return MirroredTable(
                schema,
                views,
                arn=arn,
                view=options.view,
                on_miss=options.on_miss,
                min_time=min_time_of(schema.table, options.min_time, own_writes),
            )

        tables = Tables(options.specs, options.tables, options.schemas, mirrored)
        return Calls(tables, max_age=options.max_age, own_writes=own_writes)


class ThreadedAttachment(Attachment):
    """Calls of a client of boto3 or botocore.

    Safe for use by several threads at once, and in processes that are forked later.

    Args:
        target: whose calls they are.
        options: the arguments of `attach`.
    """

    def __init__(self, target: Target, options: Options) -> None:
        if isinstance(options.cache, AsyncCache):
            raise ConfigError("cache: must be a Cache, since the target's calls are no coroutines")
        self._cache = options.cache or Cache(options.settings)
        super().__init__(target, options)

    def renew(self) -> None:
        """Begin again in a forked process: locks may be held by threads that it does not have."""
        super().renew()
        options = self.options
        self._gate = Gate(
            self._cache,
            timeout=self._cache.timeout,
            failures=options.failures,
            pause=options.pause,
        )
        self._later = Later(self._compare)

    def _end(self) -> None:
        if self.options.cache is None:
            self._cache.close()

    def _before_call(
        self, *, model: Any, params: dict[str, Any], context: dict[str, Any], **_rest: Any
    ) -> Reply | None:
        operation = model.name
        if not self._handles(operation) or is_seen(context):
            return None
        calls: Calls | None = None
        try:
            place = place_of(params, context) if self._target.of_session else None
            calls = self._calls_of(place)

            def ask_table(request: TableRequest) -> Any:
                client = self._target.client(place, context["client_config"])
                return ask(client, request)

            steps = self._handlers.before(calls, operation, params, context)
            return run(steps, self._gate, ask_table)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not be the caller's
            self._fault(error, operation, calls)
        return None

    def _after_call(
        self, *, http_response: Any, parsed: dict[str, Any], context: dict[str, Any], **_rest: Any
    ) -> None:
        try:
            steps = self._handlers.after(http_response.status_code, parsed, context)
            if steps is not None:
                self._later.submit(steps)
        except Exception as error:  # noqa: BLE001 - as above
            self._handlers.fault(error)

    def _compare(self, steps: Steps[None]) -> None:
        try:
            run(steps, self._gate)
        except Exception as error:  # noqa: BLE001 - as above
            self._handlers.fault(error)


_attachments: WeakSet[Attachment] = WeakSet()


def _renew_all() -> None:
    for attachment in tuple(_attachments):
        attachment.renew()


os.register_at_fork(after_in_child=_renew_all)


def ask(client: Any, request: TableRequest) -> Any:
    """Return the answer of a client to a request, or the exception that it raised."""
    try:
        return getattr(client, request.operation)(**request.arguments)
    except Exception as error:  # noqa: BLE001 - its caller decides
        return error


def attach(
    target: Any,
    settings: Settings | None = None,
    *,
    tables: Collection[str] | None = None,
    view: str | None = None,
    views: Sequence[ViewSpec] | None = None,
    on_miss: OnMiss = "table",
    max_age: float | None = None,
    min_time: MinTime = None,
    shadow: float = 0.0,
    failures: int = 3,
    pause: float = 5.0,
    schemas: Iterable[Schema] = (),
    cache: Cache | AsyncCache | None = None,
    registry: "CollectorRegistry | None" = None,
) -> Attachment:
    """Answer DynamoDB's reads of an existing client from the cache, where that is exact.

    GetItem, BatchGetItem and Query are answered; DynamoDB gets every other call unchanged. The
    network is first used when a table is first read: then DynamoDB describes the table.

    Args:
        target: boto3's Table, resource, client or Session for DynamoDB, botocore's client or
            session, those of aioboto3 and aiobotocore, or a model or connection of PynamoDB. Of a
            session, it is the clients that are made later.
        settings: where the cache is; default that of the environment.
        tables: names of the tables to answer for; default all that the cache mirrors.
        view: name of the view that answers, even if it changes items; default those that keep
            items as they are.
        views: all views of the cache, as the mirror has them; default those of `settings.config`.
        on_miss: what an entry that the cache lacks means: the `table` is asked, or the item is
            `absent`, which is believed only while the mirror is complete.
        max_age: seconds that the mirror may be behind, by the heartbeats of its replicators.
        min_time: seconds since 1970 of a write that each answer must show, or what returns them;
            with "own-writes", each answer shows the writes that this attachment has seen.
        shadow: the share of answers, from 0 to 1, that DynamoDB gives, too, and that are compared.
        failures: of a node of the cache, in a row, after which it is left alone.
        pause: seconds for which it is; then one caller tries again.
        schemas: the keys of tables, with their types, that DynamoDB need not be asked for.
        cache: connections to the cache that attachments share, and that are not closed with this:
            a `Cache`, or an `AsyncCache` where the target's calls are coroutines.
        registry: serves the counters of `Attachment.counts`, too.

    Returns:
        The attachment; the existing one if the target is attached with equal arguments.

    Raises:
        ConfigError: the target cannot be attached, or is with other arguments; the views cannot
            answer as DynamoDB does; or arguments do not go together.
    """
    resolved = resolve(target)
    own = table_names(resolved.tables)
    names = own if tables is None else table_names(tables)
    if own is not None and names is not None and not names <= own:
        raise ConfigError(f"tables: the target is table {', '.join(own)}, and no other")
    settings = settings or Settings.from_env(os.environ)
    options = Options(
        settings,
        tuple(load_views(settings.config) if views is None else views),
        names,
        view,
        on_miss,
        max_age,
        min_time,
        shadow,
        failures,
        pause,
        tuple(schemas),
        cache,
        registry,
    )
    check(options)
    for other in _attached_to(resolved.emitter):
        if other.options == options:
            return other
        if names is None or other.options.tables is None or names & other.options.tables:
            raise ConfigError("target: is attached already, with other arguments; detach it first")
    attachment = _kind(resolved)(resolved, options)
    attachment.attach()
    return attachment


def _kind(target: Target) -> type[Attachment]:
    if not is_asynchronous(target.emitter):
        return ThreadedAttachment
    from dynamirror.attachment.asynchronous import (  # noqa: PLC0415 - it imports this module
        AsyncAttachment,
    )

    return AsyncAttachment


def detach(target: Any) -> bool:
    """Have DynamoDB answer all calls of a target again; returns whether it was attached.

    Args:
        target: as for `attach`.

    Raises:
        ConfigError: the target cannot be attached.
    """
    resolved = resolve(target)
    found = [
        attachment
        for attachment in _attached_to(resolved.emitter)
        if resolved.tables is None or attachment.options.tables == table_names(resolved.tables)
    ]
    for attachment in found:
        attachment.detach()
    return bool(found)


def _attached_to(emitter: Any) -> list[Attachment]:
    """Return the attachments of an emitter, a list that may be changed."""
    attachments: list[Attachment] = vars(emitter).setdefault(_ATTACHED, [])
    return attachments
