"""The prices that all estimates use, each with its unit, date and source."""

from typing import Final

import msgspec

REGION: Final = "us-east-1"
HOURS: Final = 730  # a month, as AWS's calculator counts
SECONDS: Final = HOURS * 3600
MILLION: Final = 1_000_000
GB: Final = 1_000_000_000

_ELASTICACHE: Final = "https://aws.amazon.com/elasticache/pricing/"
_LAMBDA: Final = "https://aws.amazon.com/lambda/pricing/"
_CLOUDWATCH: Final = "https://aws.amazon.com/cloudwatch/pricing/"
_DYNAMODB: Final = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
_STEP_FUNCTIONS: Final = "https://aws.amazon.com/step-functions/pricing/"
_KMS: Final = "https://aws.amazon.com/kms/pricing/"
_SQS: Final = "https://aws.amazon.com/sqs/pricing/"
_PRIVATELINK: Final = "https://aws.amazon.com/privatelink/pricing/"
_DAX: Final = "https://aws.amazon.com/dynamodb/pricing/"


class Price(msgspec.Struct, frozen=True):
    """A list price in us-east-1, first tier, without the free tier.

    Args:
        name: what is paid for.
        dollars: the price of one unit.
        unit: the unit.
        as_of: the month of the figure.
        source: AWS's page. The figures are of third parties, who name it.
    """

    name: str
    dollars: float
    unit: str
    as_of: str
    source: str


STORED = Price("Serverless, storage", 0.084, "GB-hour", "June 2026", _ELASTICACHE)
ECPUS = Price("Serverless, processing", 0.0023, "million ECPUs", "June 2026", _ELASTICACHE)
REQUESTS = Price("Lambda, requests", 0.20, "million", "November 2026", _LAMBDA)
GB_SECONDS_ARM64 = Price(
    "Lambda on arm64, compute", 0.000_013_333_4, "GB-second", "November 2026", _LAMBDA
)
GB_SECONDS_X86_64 = Price(
    "Lambda on x86_64, compute", 0.000_016_666_7, "GB-second", "November 2026", _LAMBDA
)
LOGS = Price("CloudWatch, logs", 0.50, "GB", "November 2026", _CLOUDWATCH)
METRIC = Price("CloudWatch, custom metric", 0.30, "month", "November 2026", _CLOUDWATCH)
ALARM = Price("CloudWatch, alarm", 0.10, "month", "November 2026", _CLOUDWATCH)
DASHBOARD = Price("CloudWatch, dashboard", 3.00, "month", "November 2026", _CLOUDWATCH)
READ_UNITS = Price("DynamoDB, reads", 0.125, "million units", "October 2026", _DYNAMODB)
WRITE_UNITS = Price("DynamoDB, writes", 0.625, "million units", "October 2026", _DYNAMODB)
EXPRESS = Price("Step Functions, Express", 1.00, "million", "November 2026", _STEP_FUNCTIONS)
TRANSITIONS = Price(
    "Step Functions, Standard", 25.00, "million transitions", "November 2026", _STEP_FUNCTIONS
)
QUEUE_REQUESTS = Price("SQS, requests", 0.40, "million", "November 2026", _SQS)
KEY = Price("KMS, key", 1.00, "month", "November 2026", _KMS)
ENDPOINT = Price("interface endpoint, a zone each", 0.01, "hour", "November 2026", _PRIVATELINK)
PRICES: Final = (
    *(STORED, ECPUS, REQUESTS, GB_SECONDS_ARM64, GB_SECONDS_X86_64, LOGS, METRIC, ALARM),
    *(DASHBOARD, READ_UNITS, WRITE_UNITS, EXPRESS, TRANSITIONS, QUEUE_REQUESTS),
    *(KEY, ENDPOINT),
)
GB_SECONDS: Final = {"arm64": GB_SECONDS_ARM64, "x86_64": GB_SECONDS_X86_64}
# ElastiCache Serverless for Valkey bills at least this much.
LEAST_STORED_GB: Final = 0.1


class NodeType(msgspec.Struct, frozen=True):
    """A type of node.

    Args:
        name: its name.
        gib: its memory in GiB.
        hourly: dollars an hour.
    """

    name: str
    gib: float
    hourly: float


CACHE_NODES_AS_OF: Final = "October 2026"
CACHE_NODES_SOURCE: Final = _ELASTICACHE
CACHE_NODES: Final = (
    NodeType("cache.t4g.micro", 0.5, 0.0128),
    NodeType("cache.t4g.small", 1.37, 0.0256),
    NodeType("cache.t4g.medium", 3.09, 0.052),
    NodeType("cache.m7g.large", 6.38, 0.1264),
    NodeType("cache.r7g.large", 13.07, 0.1752),
    NodeType("cache.r7g.xlarge", 26.32, 0.3496),
    NodeType("cache.r7g.2xlarge", 52.82, 0.6984),
    NodeType("cache.r7g.4xlarge", 105.81, 1.396),
    NodeType("cache.r7g.8xlarge", 209.55, 2.7928),
)
# Only the price of dax.t3.small is a published figure; the others scale by size from dax.r5.large.
DAX_NODES_AS_OF: Final = "April 2026"
DAX_NODES_SOURCE: Final = _DAX
DAX_NODES: Final = (
    NodeType("dax.t3.small", 2, 0.04),
    NodeType("dax.t3.medium", 4, 0.08),
    NodeType("dax.r5.large", 16, 0.255),
    NodeType("dax.r5.xlarge", 32, 0.51),
    NodeType("dax.r5.2xlarge", 64, 1.02),
    NodeType("dax.r5.4xlarge", 128, 2.04),
    NodeType("dax.r5.8xlarge", 256, 4.08),
    NodeType("dax.r5.12xlarge", 384, 6.12),
    NodeType("dax.r5.16xlarge", 512, 8.16),
    NodeType("dax.r5.24xlarge", 768, 12.24),
)
