"""The network: an isolated VPC, and the security groups of cache and functions."""

from collections.abc import Sequence

from aws_cdk import Acknowledgment, Tags, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from dynamirror.errors import ConfigError

# ElastiCache Serverless serves replica reads, which may lag, on the second port.
CACHE_PORTS = ec2.Port.tcp_range(6379, 6380)
_MAX_ZONES = 3
_READS = ("BatchGetItem", "DescribeTable", "GetItem", "Query", "Scan")


class Network(Construct):
    """Create isolated subnets for the cache and the functions, without NAT or internet gateway.

    In an existing VPC, functions that read the table need a gateway endpoint for DynamoDB, or a
    NAT. Among the subnets of an existing VPC, those with NAT come first.

    Args:
        vpc: existing VPC with private or isolated subnets; default a new one.
        vpc_subnets: subnets of the existing VPC; default the private ones with NAT, or else the
            isolated ones.
        max_azs: number of availability zones of a new VPC.
        dynamodb_prefix_list: managed prefix list of DynamoDB, to which functions that read the
            table are limited. Without it they may open HTTPS connections to any address that the
            subnets route to, because CloudFormation cannot look up the list's id.

    Raises:
        ConfigError: an existing VPC has no subnet for the cache.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        vpc: ec2.IVpc | None = None,
        vpc_subnets: ec2.SubnetSelection | None = None,
        max_azs: int = 2,
        dynamodb_prefix_list: ec2.IPrefixList | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.dynamodb_endpoint: ec2.GatewayVpcEndpoint | None = None
        if vpc is None:
            self.vpc: ec2.IVpc = self._new_vpc(max_azs)
            self.subnets = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        else:
            self.vpc = vpc
            self.subnets = vpc_subnets or ec2.SubnetSelection(
                subnets=vpc.private_subnets or vpc.isolated_subnets
            )
        self._cache_group: ec2.SecurityGroup | None = None
        self.replicator_security_group = self._group("Replicator", "May reach the cache only")
        self.operator_security_group = self._group("Operator", "May reach cache and DynamoDB")
        self.operator_security_group.add_egress_rule(
            dynamodb_prefix_list or ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "to DynamoDB"
        )

    @property
    def cache_security_group(self) -> ec2.SecurityGroup:
        """The security group of a cache in this network, created when it is first asked for."""
        if self._cache_group is None:
            self._cache_group = self._group(
                "Cache", "The cache: open to the functions of the mirror"
            )
        return self._cache_group

    def connect(self, cache: ec2.IConnectable) -> None:
        """Let the functions of the mirror reach a cache at its default port."""
        for group in (self.replicator_security_group, self.operator_security_group):
            cache.connections.allow_default_port_from(group, "to the cache")

    def allow_secrets(self) -> None:
        """Let the functions of the mirror reach Secrets Manager, wherever its endpoint is."""
        for group in (self.replicator_security_group, self.operator_security_group):
            group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "to Secrets Manager")

    def limit_dynamodb(
        self, tables: Sequence[dynamodb.ITable], *, written: Sequence[dynamodb.ITable] = ()
    ) -> None:
        """Limit the gateway endpoint of a new VPC to the mirrored tables.

        Applications in that VPC query the indexes of a table where the cache cannot answer. An
        existing VPC stays as it is, because its endpoint serves others, too.

        Args:
            tables: tables that may be read, with their indexes.
            written: tables to which the canary may write.
        """
        if self.dynamodb_endpoint is None:
            return
        rights = {
            _READS: [table.table_arn for table in tables],
            ("Query",): [f"{table.table_arn}/index/*" for table in tables],
            ("PutItem",): [table.table_arn for table in written],
        }
        for actions, resources in rights.items():
            if resources:
                self.dynamodb_endpoint.add_to_policy(
                    iam.PolicyStatement(
                        principals=[iam.AnyPrincipal()],
                        actions=[f"dynamodb:{action}" for action in actions],
                        resources=resources,
                    )
                )

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
        )
        # Gateway endpoints are free.
        self.dynamodb_endpoint = vpc.add_gateway_endpoint(
            "DynamoDb", service=ec2.GatewayVpcEndpointAwsService.DYNAMODB
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
