"""The Lambda function: a batch of stream records in, the records to deliver again out."""

import logging
import os
from collections.abc import Mapping
from functools import cache as once
from typing import Any

from dynamirror.functions.runtime import log_invocation
from dynamirror.replication.replicator import Context, Replicator, build
from dynamirror.settings import Settings

logger = logging.getLogger("dynamirror")


@once
def _replicator() -> Replicator:
    """What is kept between invocations: settings, views and connections."""
    from dynamirror.metrics.emf import tell_batch  # noqa: PLC0415 - only in Lambda

    return build(Settings.from_env(os.environ), observe=tell_batch)


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Lambda's entry point; settings come from the environment (see `config.Settings`)."""
    log_invocation(context)
    return _replicator()(event, context)
