"""Variables of a shell that would lead clients of AWS elsewhere than to this machine."""

from typing import Final

# boto3 prefers an endpoint of a service to AWS_ENDPOINT_URL, and refuses FIPS beside either.
AWS_VARIABLES: Final = (
    "AWS_DEFAULT_PROFILE",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
)
