"""The canary's beat: write it to the table, and see it come through to the cache."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from secrets import token_hex
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.stored_record import decode_record
from dynamirror.dynamodb.client import aws_errors, error_code
from dynamirror.errors import CacheError, ConfigError, SourceError
from dynamirror.views.canary import ATTRIBUTE, item_key, no_text
from dynamirror.views.keyspace import canary_key
from dynamirror.views.view import Schema

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# How long a beat may take to be seen: the next minute's shall not overtake it.
SECONDS: Final = 45.0
_SHORTEST_PAUSE = 0.01
_LONGEST_PAUSE = 0.25


class CanaryMark(msgspec.Struct, frozen=True):
    """The content of the canary item.

    Args:
        at: when it was written, in milliseconds since 1970.
        nonce: distinguishes probes.
    """

    at: int
    nonce: str


class _Entry(msgspec.Struct, frozen=True, rename={"mark": ATTRIBUTE}.get):
    """The canary in the cache, but for its key."""

    mark: CanaryMark


class ProbeResult(msgspec.Struct, frozen=True):
    """The result of one probe.

    Args:
        at: when it was written, in milliseconds since 1970; 0 if it could not be.
        seen: whether it was seen in the cache in time.
        latency: seconds from the acknowledged write to its sight; None if it was not seen.
        error: why it was not seen, one sentence; empty if it was.
    """

    at: int
    seen: bool
    latency: float | None = None
    error: str = ""


class CanaryProbe:
    """Writes the canary of one table, and looks for it in the mirror.

    Args:
        cache: the cache.
        client: boto3's dynamodb client.
        schema: of the table; where the types of its keys are not known, they are found out by
            writing, so that no right is needed but that to write this one item.
        clock: monotonic seconds.
        now: seconds since 1970.
        wait: waits that many seconds; a true answer ends the beat.
    """

    def __init__(
        self,
        cache: Cache,
        client: "DynamoDBClient",
        schema: Schema,
        *,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
        wait: Callable[[float], object] = sleep,
    ) -> None:
        self._cache = cache
        self._client = client
        self._schema = schema
        self._clock = clock
        self._now = now
        self._wait = wait

    def probe(self, seconds: float = SECONDS, within: float = inf) -> ProbeResult:
        """Write the canary and wait until the cache has it.

        Args:
            seconds: to wait at the most, once it is written.
            within: the wait ends so many seconds after the call, however long the writing took; but
                the cache is looked at once in any case.
        """
        end = self._clock() + within
        before = None
        with suppress(CacheError):  # the wait below reports it, if it persists
            before = last(self._cache, self._schema.table)
        mark = CanaryMark(round(self._now() * 1000), token_hex(8))
        try:
            self.write(mark)
        except (ConfigError, SourceError) as error:
            return ProbeResult(0, seen=False, error=str(error))
        left = max(0.0, end - self._clock())
        return self.wait_until_seen(mark, min(seconds, left), before)

    def write(self, mark: CanaryMark) -> None:
        """Put the item.

        Raises:
            SourceError: DynamoDB did not take it.
            ConfigError: the table cannot have a canary.
        """
        for schema in self._possible_schemas():
            said = {"at": {"N": str(mark.at)}, "nonce": {"S": mark.nonce}}
            item: Any = {ATTRIBUTE: {"M": said}, **item_key(schema)}
            try:
                with aws_errors(f"table {schema.table}"):
                    self._client.put_item(TableName=schema.table, Item=item)
            except SourceError as error:
                if self._schema.types or error_code(error.__cause__) != "ValidationException":
                    raise
            else:
                self._schema = schema
                return
        raise no_text(self._schema)

    def _possible_schemas(self) -> Iterator[Schema]:
        schema = self._schema
        if schema.types:
            yield schema
            return
        for tag in "SNB" if len(schema.keys) > 1 else "S":
            yield msgspec.structs.replace(schema, types=("S", tag)[: len(schema.keys)])

    def wait_until_seen(
        self, mark: CanaryMark, seconds: float, before: CanaryMark | None = None
    ) -> ProbeResult:
        """Look at the cache until it holds what was written just now, or what came even after it.

        A table may have several canaries, as each region of a global table has one: where another's
        beat overtook this one, that came through as well.

        Args:
            mark: what was written.
            seconds: to wait at the most.
            before: what the cache held before it was written.
        """
        begin = self._clock()
        error, pause = "", _SHORTEST_PAUSE
        while True:
            try:
                held, error = last(self._cache, self._schema.table), ""
            except CacheError as failure:  # which may pass
                held, error = None, str(failure)
            taken = self._clock() - begin
            if held == mark or (held and held != before and held.at >= mark.at):
                return ProbeResult(mark.at, seen=True, latency=max(0.0, taken))
            if taken >= seconds or self._wait(min(pause, seconds - taken)):
                break
            pause = min(2 * pause, _LONGEST_PAUSE)
        reason = error or f"the cache did not have it within {taken:.0f} s of the write"
        return ProbeResult(mark.at, seen=False, error=reason)


def last(cache: Cache, table: str) -> CanaryMark | None:
    """Return the newest canary that arrived; None for none.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = canary_key(table)
    entry = decode_record(cache.call(key, b"GET", key), _Entry, key)
    return entry.mark if entry else None
