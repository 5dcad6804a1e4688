"""The network: an isolated VPC, and the security groups of cache and functions."""

from aws_cdk import Acknowledgment, Tags, Validations
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from dynamirror.errors import ConfigError

# ElastiCache Serverless serves replica reads, which may lag, on the second port.
CACHE_PORTS = ec2.Port.tcp_range(6379, 6380)
_MAX_ZONES = 3


class Network(Construct):
    """Create isolated subnets for the cache and the functions, without NAT or internet gateway.

    In an existing VPC, functions that read the table need a gateway endpoint for DynamoDB, or a
    NAT.

    Args:
        vpc: existing VPC with isolated or private subnets; default a new one.
        max_azs: number of availability zones of a new VPC.

    Raises:
        ConfigError: an existing VPC has no subnet for the cache.
    """

    def __init__(
        self, scope: Construct, id: str, *, vpc: ec2.IVpc | None = None, max_azs: int = 2
    ) -> None:
        super().__init__(scope, id)
        self.vpc = vpc or self._new_vpc(max_azs)
        self.subnets = ec2.SubnetSelection(
            subnet_type=ec2.SubnetType.PRIVATE_ISOLATED if vpc is None else None,
            subnets=None if vpc is None else (vpc.isolated_subnets or vpc.private_subnets),
        )
        self.cache_security_group = self._group(
            "Cache", "The cache: open to the functions of the mirror"
        )
        self.replicator_security_group = self._group("Replicator", "May reach the cache only")
        self.admit(self.replicator_security_group)
        self.operator_security_group = self._group("Operator", "May reach cache and DynamoDB")
        self.admit(self.operator_security_group)
        # The gateway endpoint has public addresses; the subnets route to nothing else.
        self.operator_security_group.add_egress_rule(
            ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "to DynamoDB"
        )

    def admit(self, client: ec2.ISecurityGroup) -> None:
        """Let the security group of an application reach the cache."""
        self.cache_security_group.add_ingress_rule(client, CACHE_PORTS, "to the cache")
        client.add_egress_rule(self.cache_security_group, CACHE_PORTS, "to the cache")

    def one_subnet_per_zone(self) -> list[str]:
        """Return the ids of one subnet in each of at most three zones, as ElastiCache requires.

        Raises:
            ConfigError: the VPC has no subnet for the cache.
        """
        subnets = self.vpc.select_subnets(
            subnets=self.subnets.subnets, subnet_type=self.subnets.subnet_type
        ).subnets
        by_zone: dict[str, str] = {}
        for subnet in subnets:
            by_zone.setdefault(subnet.availability_zone, subnet.subnet_id)
        if not by_zone:
            raise ConfigError(
                "network: the VPC has neither isolated nor private subnets for the cache; add "
                "one, or pass another VPC"
            )
        return list(by_zone.values())[:_MAX_ZONES]

    def _new_vpc(self, max_azs: int) -> ec2.Vpc:
        vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=max_azs,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24
                )
            ],
            # Emptying the default group needs a custom resource, and nothing here uses the group.
            restrict_default_security_group=False,
            gateway_endpoints={
                # Gateway endpoints are free.
                "DynamoDb": ec2.GatewayVpcEndpointOptions(
                    service=ec2.GatewayVpcEndpointAwsService.DYNAMODB
                )
            },
        )
        Validations.of(vpc).acknowledge(
            Acknowledgment(
                id="AwsSolutions-VPC7",
                reason=(
                    "Traffic in these subnets goes to the cache and the table only. Flow logs "
                    "would cost more than the mirror; add them where a policy requires them."
                ),
            )
        )
        return vpc

    def _group(self, id: str, description: str) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(
            self,
            f"{id}SecurityGroup",
            vpc=self.vpc,
            description=description,
            allow_all_outbound=False,
        )
        Tags.of(group).add("Name", f"{self.node.path}/{id}")
        return group
