"""What a fresh Lambda sandbox has, in the process of the tests."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dynamirror import handler as module
from dynamirror.functions.runtime import lambda_log
from dynamirror.settings import Settings


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


@contextmanager
def fresh_handler(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Give the handler a fresh sandbox with only these settings; gives its environment."""
    for name in os.environ:
        if name.startswith(("ELASTICACHE_", "DYNAMIRROR_", "AWS_")):
            monkeypatch.delenv(name)
    env = settings.to_env()
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    module.replicator.cache_clear()
    with fresh_logger():
        yield env
    if module.replicator.cache_info().currsize:
        module.replicator().cache.close()
    module.replicator.cache_clear()
