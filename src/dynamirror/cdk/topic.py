"""An SNS topic that mails alarms."""

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from dynamirror.errors import ConfigError


class AlarmTopic(Construct):
    """Create an encrypted topic that CloudWatch may publish to, with one subscriber by mail.

    SNS first mails the subscriber a link that confirms the subscription.

    The topic has a key of its own, about $1 a month: CloudWatch cannot use AWS's own key for SNS
    (alias/aws/sns), and alarms would be lost without an error.
    https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
    Its policy names CloudWatch: a policy that requires TLS replaces the default policy, which
    admits CloudWatch.

    Args:
        email: mail address of the subscriber.

    Raises:
        ConfigError: the mail address is malformed.
    """

    def __init__(self, scope: Construct, id: str, *, email: str) -> None:
        super().__init__(scope, id)
        if email.count("@") != 1 or not all(email.split("@")) or any(map(str.isspace, email)):
            raise ConfigError(f"AlarmTopic: email: {email!r} is not an address like ops@x.org")
        cloudwatch = iam.ServicePrincipal(
            "cloudwatch.amazonaws.com",
            # CloudWatch sends the account of the alarm as a condition key.
            conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
        )
        key = kms.Key(
            self,
            "Key",
            description="dynamirror: encrypts alarms in transit",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.DESTROY,  # it encrypts nothing that is stored
        )
        key.grant(cloudwatch, "kms:Decrypt", "kms:GenerateDataKey*")
        self.topic = sns.Topic(
            self, "Topic", display_name="dynamirror", master_key=key, enforce_ssl=True
        )
        self.topic.grant_publish(cloudwatch)
        self.topic.add_subscription(subscriptions.EmailSubscription(email))
