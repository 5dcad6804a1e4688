"""What is reported before a job over a whole table begins: a log line, a metric and a note."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dynamirror.errors import ConfigError
from dynamirror.log_lines import log
from dynamirror.metrics import catalogue as metrics
from dynamirror.metrics import emf
from dynamirror.operations.service import Operations
from dynamirror.recovery.limits import Duration
from dynamirror.recovery.long_job import Job, drop_long_job, save_long_job

logger = logging.getLogger("dynamirror")


def announce(operations: Operations, duration: Duration) -> None:
    """Report a job that takes more than a day, or drop the note about the one before.

    Args:
        operations: the operations of the mirror.
        duration: what the job takes.

    Raises:
        CacheError: the cache cannot be reached.
    """
    if duration.is_long:
        _report(operations, duration.job, duration.sentence, duration.seconds)
    else:
        drop_long_job(operations.cache, operations.table, duration.job)


@contextmanager
def reporting_refusal(operations: Operations, job: Job) -> Iterator[None]:
    """Report a job that is refused because it cannot end, and raise the refusal.

    Args:
        operations: the operations of the mirror.
        job: the job.

    Raises:
        CacheError: the cache cannot be reached.
    """
    try:
        yield
    except ConfigError as error:
        _report(operations, job, f"the {job} was refused: {error}", 0.0)
        raise


def _report(operations: Operations, job: Job, sentence: str, seconds: float) -> None:
    log(logger, logging.WARNING, "the job takes long", {"reason": sentence})
    emf.emit(operations.table, {metrics.LONG_JOBS: 1})
    save_long_job(operations.cache, operations.table, job, sentence, seconds=seconds)
