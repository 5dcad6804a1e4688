"""The resources of a template whose replacement would lose something.

Those of another version are written by this module, run in a copy of its tree:

    git archive VERSION | tar x -C OLD
    cd OLD
    PYTHONPATH=src:. python HERE/tests/support/stateful.py > HERE/tests/support/stateful_0_2_0.json
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

# The properties whose change replaces a resource.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-template-resource-type-ref.html
CREATE_ONLY: Mapping[str, tuple[str, ...]] = {
    "AWS::DynamoDB::Table": ("TableName", "KeySchema", "ImportSourceSpecification"),
    "AWS::EC2::SecurityGroup": ("GroupName", "GroupDescription", "VpcId"),
    "AWS::EC2::Subnet": ("VpcId", "CidrBlock", "AvailabilityZone", "Ipv6Native"),
    "AWS::EC2::VPC": ("CidrBlock", "InstanceTenancy", "Ipv4IpamPoolId"),
    "AWS::ElastiCache::ReplicationGroup": (
        *("ReplicationGroupId", "CacheSubnetGroupName", "KmsKeyId", "Port"),
        *("AtRestEncryptionEnabled", "NetworkType"),
    ),
    "AWS::ElastiCache::ServerlessCache": (
        *("ServerlessCacheName", "SubnetIds", "KmsKeyId", "SnapshotArnsToRestore"),
        "ConnectionType",
    ),
    "AWS::ElastiCache::User": ("UserId", "UserName"),
    "AWS::ElastiCache::UserGroup": ("UserGroupId",),
    "AWS::Logs::LogGroup": ("LogGroupName",),
}


def stateful(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources of a template whose replacement would lose something."""
    return {
        name: {key: resource[key] for key in ("Type", "Properties") if key in resource}
        for name, resource in sorted(template["Resources"].items())
        if resource["Type"] in CREATE_ONLY
    }


if __name__ == "__main__":
    from tests.support.templates import synthesize

    json.dump(stateful(synthesize().to_json()), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
