"""The task of a state machine that invokes the worker function."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from dynamirror.cdk.function_context import MAX_TIMEOUT

# Names of the worker's errors that a retry cannot fix.
LOST_ERROR, CONFIG_ERROR = "LostError", "ConfigError"
# A step ends by itself in time and further than before, so that a few functions that did not are
# enough.
_TIMEOUTS = ("Sandbox.Timedout", sfn.Errors.TIMEOUT, "StalledError")
_MOST_TIMEOUTS = 4


def worker_task(
    scope: Construct,
    id: str,
    worker: lambda_.IFunction,
    payload: Mapping[str, Any],
    *,
    result_path: str = sfn.JsonPath.DISCARD,
    attempts: int = 40,
) -> tasks.LambdaInvoke:
    """Return a task that invokes the worker, with exponential backoff.

    `LostError` and `ConfigError` are not retried, and timeouts a few times only: 40 invocations of
    15 minutes would be ten hours.

    Args:
        scope: construct that contains the task.
        id: name of the construct and of the state.
        worker: function to invoke.
        payload: input of the function.
        result_path: JSON path that receives the answer; the default discards it.
        attempts: number of retries; 40 take about 40 minutes.
    """
    task = tasks.LambdaInvoke(
        scope,
        id,
        state_name=id,
        lambda_function=worker,
        payload=sfn.TaskInput.from_object(dict(payload)),
        payload_response_only=True,
        result_path=result_path,
        task_timeout=sfn.Timeout.duration(MAX_TIMEOUT.plus(Duration.minutes(1))),
        retry_on_service_exceptions=False,  # States.ALL includes them
    )
    task.add_retry(errors=[LOST_ERROR, CONFIG_ERROR], max_attempts=0)
    task.add_retry(errors=list(_TIMEOUTS), max_attempts=min(attempts, _MOST_TIMEOUTS))
    task.add_retry(
        errors=[sfn.Errors.ALL],
        interval=Duration.seconds(2),
        backoff_rate=2,
        max_delay=Duration.minutes(1),
        jitter_strategy=sfn.JitterType.FULL,
        max_attempts=attempts,
    )
    return task
