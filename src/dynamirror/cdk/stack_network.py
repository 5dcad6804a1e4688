"""The network that a `mirror.toml` describes."""

import os
from typing import Final

from aws_cdk import Annotations, Environment, Stack, Token
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from dynamirror.cdk.network import Network
from dynamirror.deployment.file import Deployment
from dynamirror.deployment.sections import NetworkSection
from dynamirror.errors import ConfigError

# CDK uses as many zones where it does not know the region.
_ZONES_OF_ANY_REGION: Final = 2


def lookup_environment(deployment: Deployment) -> Environment | None:
    """Return the account and region of a stack that looks something up; None if it does not.

    CDK's command line sets both variables from the AWS credentials.

    Raises:
        ConfigError: there are no credentials.
    """
    section = deployment.network
    if section.vpc_id is not None and not section.subnet_ids:
        field, what = "subnet_ids", f"the subnets of {section.vpc_id}"
        remedy = "set subnet_ids, or set up credentials"
    elif section.max_azs > _ZONES_OF_ANY_REGION:
        field, what = "max_azs", f"{section.max_azs} zones"
        remedy = f"set max_azs to {_ZONES_OF_ANY_REGION}, or set up credentials"
    else:
        return None
    account, region = (os.environ.get(f"CDK_DEFAULT_{name}") for name in ("ACCOUNT", "REGION"))
    if not account or not region:
        raise ConfigError(
            f"{deployment.path or 'context'}: network.{field}: {what} cannot be looked up without "
            f"AWS credentials; {remedy}"
        )
    return Environment(account=account, region=region)


def stack_network(scope: Construct, deployment: Deployment) -> Network | None:
    """Create the network of a stack; return None for functions without a VPC.

    Raises:
        ConfigError: the subnets of an existing VPC are not known.
    """
    section = deployment.network
    if section.public:
        return None
    prefix_list = section.dynamodb_prefix_list_id
    return Network(
        scope,
        "Network",
        vpc=_vpc(scope, section),
        max_azs=section.max_azs,
        dynamodb_prefix_list=ec2.PrefixList.from_prefix_list_id(scope, "DynamoDb", prefix_list)
        if prefix_list
        else None,
    )


def _vpc(scope: Construct, section: NetworkSection) -> ec2.IVpc | None:
    if section.vpc_id is None:
        return None
    if section.subnet_ids:
        # Routes are for `dynamirror preflight` to check, and nothing here needs their tables.
        Annotations.of(scope).acknowledge_warning("@aws-cdk/aws-ec2:noSubnetRouteTableId")
        return ec2.Vpc.from_vpc_attributes(
            scope,
            "Vpc",
            vpc_id=section.vpc_id,
            # Only their number matters: the file names one subnet a zone.
            availability_zones=[f"zone-{index}" for index in range(len(section.subnet_ids))],
            isolated_subnet_ids=section.subnet_ids,
        )
    if Token.is_unresolved(Stack.of(scope).account):
        raise ConfigError(
            f"network.subnet_ids: the subnets of {section.vpc_id} cannot be looked up by a stack "
            "without account and region; set subnet_ids, or set the stack's env"
        )
    vpc = ec2.Vpc.from_lookup(scope, "Vpc", vpc_id=section.vpc_id)
    if not vpc.private_subnets and vpc.isolated_subnets:
        Annotations.of(scope).add_warning_v2(
            "dynamirror:isolated-subnets",
            f"No subnet of {section.vpc_id} has a NAT, so the functions need a gateway endpoint "
            "for DynamoDB in the route tables of the isolated ones; `dynamirror preflight` checks",
        )
    return vpc
