"""What a fresh Lambda sandbox has, in the process of the tests."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dynamirror.functions.runtime import lambda_log


@contextmanager
def fresh_logger() -> Iterator[None]:
    """A sandbox sets our logger up for the rest of the process: undo it at the end."""
    logger = logging.getLogger("dynamirror")
    before = vars(logger) | {"handlers": logger.handlers[:], "filters": logger.filters[:]}
    lambda_log.cache_clear()
    try:
        yield
    finally:
        lambda_log.cache_clear()
        vars(logger).clear()
        vars(logger).update(before)
        logger.setLevel(logger.level)  # forgets which levels it found enabled
