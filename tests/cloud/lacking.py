"""What moto's CloudFormation lacks, made through moto's own backends, so that the template deploys unchanged.

To import this module is to register the types. They are moto's look at AWS, and ours of CloudFormation: what
a property means beyond what is read here is cfn-lint's to check, and AWS's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from moto.apigateway.models import apigateway_backends
from moto.cloudformation import parsing
from moto.cloudformation.models import CloudFormationBackend
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.iam.models import Role, iam_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends

Properties = dict[str, Any]


class Made:
    """A resource of such a type."""

    def __init__(self, name: str, properties: Properties, remove: Callable[[], object]) -> None:
        self.physical_resource_id = name
        self.properties = properties
        self._remove = remove

    def get_cfn_attribute(self, name: str) -> str:
        """Give an attribute; nobody asks for one."""
        raise NotImplementedError(name)

    def is_created(self) -> bool:
        """Say that it is there."""
        return True

    def delete(self, _account_id: str, _region: str) -> None:
        """Take it down."""
        self._remove()


def lacking(kind: str, *, stays: bool = False) -> Callable[[Callable[..., Made]], type]:
    """Register a type of CloudFormation's by the function that makes it.

    A resource that is changed is taken down and made anew, under the same name where it has one; or it
    ``stays`` as it is.
    """

    def register(make: Callable[..., Made]) -> type:
        def created(
            _cls: type, /, name: str, template: Properties, account: str, region: str, **_: Any
        ) -> Made:
            return make(name, template["Properties"], account, region)

        def updated(
            _cls: type,
            /,
            original_resource: Made,
            new_resource_name: str,
            cloudformation_json: Properties,
            account_id: str,
            region_name: str,
        ) -> Made:
            if stays:
                return original_resource
            original_resource.delete(account_id, region_name)
            properties = cloudformation_json["Properties"]
            return make(new_resource_name, properties, account_id, region_name)

        members = {
            "cloudformation_name_type": staticmethod(lambda: ""),
            "cloudformation_type": staticmethod(lambda: kind),
            "has_cfn_attr": classmethod(lambda _cls, _name: True),
            "create_from_cloudformation_json": classmethod(created),
            "update_from_cloudformation_json": classmethod(updated),
        }
        return type(kind.rpartition("::")[2], (CloudFormationModel,), members)

    return register


@lacking("AWS::ApiGateway::Stage")
def stage(_name: str, properties: Properties, account: str, region: str) -> Made:
    """Make a stage of an API."""
    backend, api = apigateway_backends[account][region], properties["RestApiId"]
    name = properties["StageName"]
    traced = properties.get("TracingEnabled") in (True, "true")
    deployment = properties["DeploymentId"]  # moto gives the deployment where its id is meant
    backend.create_stage(api, name, deployment.id, tracing_enabled=traced)
    return Made(name, properties, lambda: backend.delete_stage(api, name))


@lacking("AWS::ApiGateway::UsagePlan", stays=True)
def usage_plan(name: str, properties: Properties, account: str, region: str) -> Made:
    """Make a usage plan."""
    backend = apigateway_backends[account][region]
    throttle = properties["Throttle"]
    stages = [{"apiId": one["ApiId"], "stage": one["Stage"]} for one in properties["ApiStages"]]
    limits = {"rateLimit": throttle["RateLimit"], "burstLimit": throttle["BurstLimit"]}
    plan = backend.create_usage_plan({"name": name, "apiStages": stages, "throttle": limits})
    return Made(plan.id, properties, lambda: backend.usage_plans.pop(plan.id))


@lacking("AWS::ApiGateway::Account")
def account_settings(_name: str, properties: Properties, _account: str, _region: str) -> Made:
    """Pretend; moto knows no account-wide role for logs."""
    return Made("account", properties, lambda: None)


@lacking("AWS::CloudWatch::Alarm")
def alarm(name: str, properties: Properties, account: str, region: str) -> Made:
    """Make an alarm."""
    backend = cloudwatch_backends[account][region]

    backend.put_metric_alarm(
        name=name,
        namespace=properties["Namespace"],
        metric_name=properties["MetricName"],
        comparison_operator=properties["ComparisonOperator"],
        evaluation_periods=int(properties["EvaluationPeriods"]),
        period=int(properties["Period"]),
        threshold=float(properties["Threshold"]),
        statistic=properties["Statistic"],
        description=properties["AlarmDescription"],
        dimensions=properties["Dimensions"],
        alarm_actions=properties["AlarmActions"],
        treat_missing_data=properties["TreatMissingData"],
    )
    return Made(name, properties, lambda: backend.delete_alarms([name]))


@lacking("AWS::SecretsManager::Secret")
def secret(name: str, properties: Properties, account: str, region: str) -> Made:
    """Make a secret of random letters and digits."""
    backend = secretsmanager_backends[account][region]
    length = properties["GenerateSecretString"]["PasswordLength"]
    made, _ = backend._add_secret(  # the public way gives its answer as text
        name, secret_string=secrets.token_hex(length // 2), description=properties["Description"]
    )
    return Made(made.arn, properties, lambda: backend.secrets.pop(name))


@lacking("AWS::S3::BucketPolicy", stays=True)
def bucket_policy(name: str, properties: Properties, _account: str, _region: str) -> Made:
    """Pretend; moto looks at no conditions, and would refuse everything that comes without TLS or with it."""
    return Made(name, properties, lambda: None)


@lacking("AWS::SNS::Subscription")
def subscription(name: str, properties: Properties, account: str, region: str) -> Made:
    """Subscribe to a topic."""
    backend = sns_backends[account][region]
    made = backend.subscribe(properties["TopicArn"], properties["Endpoint"], properties["Protocol"])
    return Made(made.arn, properties, lambda: backend.unsubscribe(made.arn))


def _create_role(
    _cls: type, /, name: str, template: Properties, account: str, region: str, **named: Any
) -> Role:
    """Make a role, and attach the policies that it shares with others, which moto leaves out."""
    role = _role_created(name, template, account, region, **named)
    backend = iam_backends[account]["aws"]
    for arn in template["Properties"].get("ManagedPolicyArns", ()):
        if arn in {policy.arn for policy in backend.managed_policies.values()}:
            backend.attach_role_policy(arn, role.name)
    return role


_role_created = Role.create_from_cloudformation_json


def _delete_role(_cls: type, /, name: str, template: Any, account: str, region: str) -> None:
    """Delete a role, and detach those policies first, as CloudFormation does."""
    backend = iam_backends[account]["aws"]
    for arn in list(backend.get_role(name).managed_policies):
        backend.detach_role_policy(arn, name)
    _role_deleted(name, template, account, region)


_role_deleted = Role.delete_from_cloudformation_json
Role.create_from_cloudformation_json = classmethod(_create_role)  # type: ignore[assignment]
Role.delete_from_cloudformation_json = classmethod(_delete_role)  # type: ignore[assignment]


def _execute_change_set(self: CloudFormationBackend, *given: Any, **named: Any) -> None:
    """Run a change set, and give the stack its outputs and description, which moto leaves as they were."""
    _executed(self, *given, **named)
    for stack in self.stacks.values():
        stack._parse_template()
        stack.description = stack.template_dict.get("Description")
        stack.output_map = stack._create_output_map()


_executed = CloudFormationBackend.execute_change_set
CloudFormationBackend.execute_change_set = _execute_change_set  # type: ignore[method-assign]
parsing.get_model_list.cache_clear()
parsing.get_model_map.cache_clear()
parsing.get_name_type_map.cache_clear()
