"""What the Lambda functions share."""

from functools import cache as once
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger


@once
def _logger() -> "Logger":
    """One JSON object a line; POWERTOOLS_LOG_LEVEL and POWERTOOLS_LOGGER_SAMPLE_RATE are heeded."""
    from aws_lambda_powertools import Logger  # noqa: PLC0415 - only in Lambda

    return Logger(service="dynamirror")


def log_invocation(context: object) -> None:
    """Have what is logged from now on tell the invocation, which is new.

    Args:
        context: Lambda's.
    """
    cold = not _logger.cache_info().currsize
    powertools = _logger()
    if not cold and powertools.sampling_rate:
        powertools.refresh_sample_rate_calculation()  # when it was made, it was drawn already
    request = getattr(context, "aws_request_id", None)
    powertools.append_keys(function_request_id=request, cold_start=cold)
