"""Forms of the ids and ARNs that a `mirror.toml` holds."""

from typing import Annotated, Final

import msgspec


def _id(prefix: str) -> msgspec.Meta:
    return msgspec.Meta(
        pattern=rf"^{prefix}-[0-9a-f]+$", description=f"an id like {prefix}-0a1b2c3d"
    )


VpcId = Annotated[str, _id("vpc")]
SubnetId = Annotated[str, _id("subnet")]
SecurityGroupId = Annotated[str, _id("sg")]
PrefixListId = Annotated[str, _id("pl")]
_OCTET: Final = r"(25[0-5]|2[0-4]\d|1?\d?\d)"
Cidr = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^{_OCTET}(\.{_OCTET}){{3}}/([0-9]|[12][0-9]|3[0-2])$",
        description="a block like 10.0.0.0/16",
    ),
]
KEY_ARN: Final = r"^arn:[^:]+:kms:[^:]*:[^:]*:key/.+$"
KeyArn = Annotated[
    str,
    msgspec.Meta(
        pattern=KEY_ARN,
        description="an ARN like arn:aws:kms:REGION:ACCOUNT:key/ID",
    ),
]
SecretArn = Annotated[
    str,
    msgspec.Meta(
        # CDK needs the six letters that Secrets Manager adds to the name.
        pattern=r"^arn:[^:]+:secretsmanager:[^:]+:[^:]*:secret:.+-[A-Za-z0-9]{6}$",
        description="an ARN like arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-a1B2c3",
    ),
]
CacheName = Annotated[
    str,
    msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]*$", description="a name like orders-cache"),
]
Host = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$",
        description="the name of a host, without scheme and port",
    ),
]
TopicArn = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^arn:[^:]+:sns:[^:]*:[^:]*:[^:]+$",
        description="the ARN of a topic, like arn:aws:sns:REGION:ACCOUNT:NAME",
    ),
]
