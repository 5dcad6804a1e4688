"""The state of a verification in parts, in the cache, so that a killed part resumes."""

from typing import Final

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.recovery.comparison import Comparison, PartProgress
from dynamirror.recovery.rebuild_state import LostError
from dynamirror.views.keyspace import verification_key

# A slow verification's results must stay in the cache until it ends.
_SECONDS: Final = 7 * 86_400
_AT_ONCE: Final = 1000


class VerificationState:
    """Reads and writes the progress of a verification's parts.

    Args:
        cache: the cache.
        table: the table's name.
        name: the id of the verification.
    """

    def __init__(self, cache: Cache, table: str, name: str) -> None:
        self._cache = cache
        self._table = table
        self._name = name

    def progress(self, number: int) -> PartProgress:
        """Return the progress of a part; damaged state is read as if it were not there.

        Args:
            number: the number of the part, from 0.

        Raises:
            CacheError: the cache cannot be reached.
        """
        key = self._key(number)
        text = self._cache.call(key, b"GET", key)
        return decode_record(text, PartProgress, key) or PartProgress()

    def save(self, number: int, progress: PartProgress) -> None:
        """Write the progress of a part.

        Raises:
            CacheError: the cache cannot be reached.
        """
        key = self._key(number)
        self._cache.call(key, b"SET", key, encode_record(progress), b"EX", _SECONDS)

    def total(self, parts: int) -> Comparison:
        """Return the differences in all parts together.

        Args:
            parts: the number of parts.

        Raises:
            CacheError: the cache cannot be reached.
            LostError: a part is not done, or its result is gone.
        """
        total = Comparison()
        for begin in range(0, parts, _AT_ONCE):
            keys = [self._key(number) for number in range(begin, min(parts, begin + _AT_ONCE))]
            commands = [Command(key.encode(), (b"GET", key)) for key in keys]
            # The results expire by themselves, so that a repeated step finds them.
            for key, text in zip(keys, self._cache.execute(commands), strict=True):
                if isinstance(text, Failure):
                    raise self._cache.error(text.reason)
                progress = decode_record(text, PartProgress, key)
                if progress is None or not progress.done:
                    raise LostError("the cache has lost results of the verification; verify again")
                total.add(progress.comparison)
        return total

    def _key(self, number: int) -> str:
        return verification_key(self._table, self._name, number)
