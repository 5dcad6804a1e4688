"""Logging that the Lambda functions share."""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger


@functools.cache
def lambda_logger() -> "Logger":
    """Return the logger that writes one JSON object a line.

    POWERTOOLS_LOG_LEVEL sets its level, POWERTOOLS_LOGGER_SAMPLE_RATE its sampling of DEBUG.
    """
    from aws_lambda_powertools import Logger  # noqa: PLC0415 - only in Lambda

    return Logger(service="dynamirror")


def log_invocation(context: object) -> None:
    """Add the id of a new invocation to everything logged from now on.

    Args:
        context: Lambda's.
    """
    cold = not lambda_logger.cache_info().currsize
    powertools = lambda_logger()
    if not cold and powertools.sampling_rate:
        powertools.refresh_sample_rate_calculation()  # a new logger has sampled already
    request = getattr(context, "aws_request_id", None)
    powertools.append_keys(function_request_id=request, cold_start=cold)
