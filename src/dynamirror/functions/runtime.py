"""Logging that the Lambda functions share."""

import functools
import logging
import os
from typing import Any

from dynamirror.log_lines import JsonLineHandler

logger = logging.getLogger("dynamirror")

# Lambda's own names, where they are not logging's.
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
_LAMBDA_LEVELS = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}
_LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})


class LambdaLog:
    """The log of one sandbox: one JSON object a line, on standard output.

    The environment is that of Powertools for AWS Lambda, which deployments set:
    POWERTOOLS_LOG_LEVEL or LOG_LEVEL is the level, and AWS_LAMBDA_LOG_LEVEL goes before both.
    POWERTOOLS_LOGGER_SAMPLE_RATE is the share of invocations that log at DEBUG.
    """

    def __init__(self) -> None:
        self._handler = JsonLineHandler()
        self._keys: dict[str, Any] = {"service": "dynamirror"}
        self._level = logging.INFO
        self._rate: float | None = None
        logger.addHandler(self._handler)
        # Lambda's handler at the root would write each line again.
        logger.propagate = False
        logger.setLevel(logging.INFO)

    def begin(self, context: object, *, cold: bool) -> None:
        """Begin an invocation.

        Args:
            context: Lambda's.
            cold: whether the invocation is the first of its sandbox.
        """
        rate = os.environ.get("POWERTOOLS_LOGGER_SAMPLE_RATE") if cold else None
        if rate is not None:
            self._keys["sampling_rate"] = rate
        request = getattr(context, "aws_request_id", None)
        request_id = {} if request is None else {"function_request_id": request}
        self._handler.invocation = {**self._keys, **request_id, "cold_start": cold}
        trace = os.environ.get("_X_AMZN_TRACE_ID", "")
        self._handler.trace_id = trace.partition(";")[0].removeprefix("Root=") or None
        if cold:
            self._level = _level()
            self._rate = _sample_rate(rate)
        self._draw()

    def _draw(self) -> None:
        """Set the level of this invocation: DEBUG for the sampled share."""
        level = self._level
        if self._rate is not None:
            import random  # noqa: PLC0415 - takes a while, and is rarely used

            if random.random() <= self._rate:  # noqa: S311 - no secret
                level = logging.DEBUG
        if logger.level != level:  # setting it makes all loggers forget what they found enabled
            logger.setLevel(level)


def _level() -> int:
    name = os.environ.get("POWERTOOLS_LOG_LEVEL") or os.environ.get("LOG_LEVEL") or ""
    level = logging.getLevelNamesMapping().get(name.upper())
    if name and level is None:
        logger.warning("log level not known, INFO is used", extra={"log_level": name})
    lambda_name = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "")
    lambda_name = _LAMBDA_LEVELS.get(lambda_name, lambda_name)
    if lambda_name not in _LEVELS:
        return logging.INFO if level is None else level
    lambda_level = logging.getLevelNamesMapping()[lambda_name]
    if level is not None and level < lambda_level:
        extra = {"log_level": name, "lambda_log_level": lambda_name}
        logger.warning("Lambda's log level hides lines of the level set", extra=extra)
    return lambda_level


def _sample_rate(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        extra = {"reason": "POWERTOOLS_LOGGER_SAMPLE_RATE must be a number from 0 to 1"}
        logger.warning("sample rate not known, no invocation is sampled", extra=extra)
        return None


@functools.cache
def lambda_log() -> LambdaLog:
    """Return the log of this sandbox, set up at the first call."""
    return LambdaLog()


def log_invocation(context: object) -> None:
    """Add the id of a new invocation to everything logged from now on.

    Args:
        context: Lambda's.
    """
    cold = not lambda_log.cache_info().currsize
    lambda_log().begin(context, cold=cold)
