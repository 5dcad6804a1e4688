"""Notes in the cache about jobs that take long, or cannot end within their limits."""

from enum import StrEnum
from time import time
from typing import Final

import msgspec

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.views.keyspace import long_job_key

_DAY_SECONDS: Final = 86_400


class Job(StrEnum):
    """A job over a whole table; the values are stored."""

    REBUILD = "rebuild"
    VERIFICATION = "verification"
    AUDIT = "audit"


class LongJob(msgspec.Struct, frozen=True):
    """A job that takes more than a day, or was refused.

    Args:
        at: when it was to begin, in seconds since 1970.
        why: what it takes, and what to do.
    """

    at: int
    why: str


def save_long_job(cache: Cache, table: str, job: Job, why: str, *, seconds: float = 0.0) -> None:
    """Write the note about a job, until its end at the latest.

    Args:
        cache: the cache.
        table: the table's name.
        job: the job.
        why: what it takes, and what to do.
        seconds: what it takes; a day is added.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key, note = long_job_key(table, job), LongJob(int(time()), why)
    cache.call(key, b"SET", key, encode_record(note), b"EX", int(seconds) + _DAY_SECONDS)


def drop_long_job(cache: Cache, table: str, job: Job) -> None:
    """Delete the note about a job that has ended, or takes less.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = long_job_key(table, job)
    cache.call(key, b"UNLINK", key)


def long_jobs(cache: Cache, table: str) -> list[LongJob]:
    """Return the notes about jobs of a table; damaged ones are left out.

    Raises:
        CacheError: the cache cannot be read.
    """
    keys = [long_job_key(table, job) for job in Job]
    answers = cache.execute([Command(key.encode(), (b"GET", key)) for key in keys])
    notes = list[LongJob]()
    for key, answer in zip(keys, answers, strict=True):
        if isinstance(answer, Failure):
            raise cache.error(answer.reason)
        note = decode_record(answer, LongJob, key)
        if note is not None:
            notes.append(note)
    return notes
