"""Where alarms go: a topic that sends mail."""

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from dynamirror.errors import ConfigError


class AlarmTopic(Construct):
    """An encrypted topic that CloudWatch may publish to, with one subscriber by mail.

    The subscriber gets a letter first, and must agree in it.

    Two traps are avoided. The key of AWS's own for SNS (alias/aws/sns) cannot be used: CloudWatch
    has no right to it, none can be given, and alarms would be lost in silence. So the key is one
    of our own, about $1 a month. https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
    And a policy that asks for TLS replaces the one that topics have from the start, which lets
    CloudWatch in: so it is let in by name.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        email: the address.

    Raises:
        ConfigError: it is no address.
    """

    def __init__(self, scope: Construct, id: str, *, email: str) -> None:
        super().__init__(scope, id)
        if email.count("@") != 1 or not all(email.split("@")) or any(map(str.isspace, email)):
            raise ConfigError(f"context: alarmEmail: {email!r} is not an address like ops@x.org")
        alarms = iam.ServicePrincipal(
            "cloudwatch.amazonaws.com",
            # Alarms of this account only; CloudWatch says so of what it asks.
            conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
        )
        key = kms.Key(
            self,
            "Key",
            description="dynamirror: alarms on their way",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.DESTROY,  # nothing is kept that it could open
        )
        key.grant(alarms, "kms:Decrypt", "kms:GenerateDataKey*")
        self.topic = sns.Topic(
            self, "Topic", display_name="dynamirror", master_key=key, enforce_ssl=True
        )
        self.topic.grant_publish(alarms)
        self.topic.add_subscription(subscriptions.EmailSubscription(email))
