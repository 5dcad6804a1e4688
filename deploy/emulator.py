"""AWS emulated by MiniStack, with the resource types that our stack needs and MiniStack lacks.

Run it with `python deploy/emulator.py`. MiniStack emulates the services of these types, but its
CloudFormation does not know the types. It has no public way to add one, so this module uses
private names: pyproject.toml pins MiniStack exactly.
"""

# ruff: noqa: SLF001 - see above

import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

Properties = Mapping[str, Any]
Created = tuple[str, dict[str, Any]]  # the values of Ref and Fn::GetAtt
Handler = dict[str, Callable[..., Any]]

_PROVISIONERS = "ministack.services.cloudformation.provisioners"
_FUNCTIONS = "ministack.services.lambda_svc"
_EXECUTE, _UNNAMED = "_execute_function_with_config_scope", "Runtime.HandlerError"
_NAMES = ("_RESOURCE_HANDLERS", "_ec", "_ec2", "_ec_call", "_ec_query", "_ec2_sg_permissions")


def add_resource_types(provisioners: Any) -> None:
    """Add the missing types to MiniStack's CloudFormation.

    Raises:
        RuntimeError: MiniStack lacks a private name.
    """
    missing = [name for name in _NAMES if not hasattr(provisioners, name)]
    if missing:
        raise RuntimeError(
            f"this MiniStack has no {', '.join(missing)} in {_PROVISIONERS}; install the version "
            "that pyproject.toml pins, or adapt deploy/emulator.py"
        )
    provisioners._RESOURCE_HANDLERS.update(
        {
            "AWS::ElastiCache::ServerlessCache": _serverless_cache(provisioners),
            "AWS::EC2::SecurityGroupIngress": _rule(provisioners, "IpPermissions"),
            "AWS::EC2::SecurityGroupEgress": _rule(provisioners, "IpPermissionsEgress"),
        }
    )


def name_errors(functions: Any) -> None:
    """Name the errors of functions after the exception, as Lambda does.

    Raises:
        RuntimeError: MiniStack lacks a private name.
    """
    if not hasattr(functions, _EXECUTE):
        raise RuntimeError(f"this MiniStack has no {_EXECUTE} in {_FUNCTIONS}; see pyproject.toml")
    execute = getattr(functions, _EXECUTE)

    def executed(*arguments: Any, **options: Any) -> Any:
        result = execute(*arguments, **options)
        body = result.get("body")
        if result.get("error") and isinstance(body, dict) and body["errorType"] == _UNNAMED:
            # The last line of a traceback is not indented.
            raised = re.findall(r"^(?:\w+\.)*(\w+)(?:: .*)?$", result.get("log", ""), re.MULTILINE)
            body["errorType"] = raised[-1] if raised else _UNNAMED
        return result

    setattr(functions, _EXECUTE, executed)


def _serverless_cache(provisioners: Any) -> Handler:
    """Return the handler of a cache at REDIS_HOST:REDIS_PORT, with neither TLS nor IAM."""
    kind, elasticache = "AWS::ElastiCache::ServerlessCache", provisioners._ec

    def create(_logical_id: str, properties: Properties, _stack: str) -> Created:
        query = provisioners._ec_query(properties)
        provisioners._ec_call(elasticache._create_serverless_cache, query, kind, "create")
        return described(properties["ServerlessCacheName"])

    def described(name: str) -> Created:
        cache = elasticache._serverless_caches[name.lower()]
        endpoints = {
            f"{endpoint}.{part}": str(cache[endpoint][part])
            for endpoint in ("Endpoint", "ReaderEndpoint")
            for part in ("Address", "Port")
        }
        facts = {fact: cache[fact] for fact in ("ARN", "Status", "FullEngineVersion")}
        return name, endpoints | facts

    def update(name: str, _old: Properties, properties: Properties, _stack: str) -> Created:
        # Of what an update in place can change, nothing here depends on the values.
        cache = elasticache._serverless_caches[name.lower()]
        cache["MajorEngineVersion"] = properties.get("MajorEngineVersion")
        return described(name)

    def delete(name: str, _properties: Properties) -> None:
        query = {"ServerlessCacheName": name}
        provisioners._ec_call(elasticache._delete_serverless_cache, query, kind, "delete")

    return {"create": create, "update": update, "delete": delete}


def _rule(provisioners: Any, direction: str) -> Handler:
    """Return the handler of a security group's rule that is a resource of its own."""

    def rules(properties: Properties) -> Any:
        return provisioners._ec2._security_groups[properties["GroupId"]][direction]

    def create(logical_id: str, properties: Properties, _stack: str) -> Created:
        rules(properties).extend(provisioners._ec2_sg_permissions([properties]))
        return logical_id, {"Id": logical_id}

    def delete(_physical_id: str, properties: Properties) -> None:
        for rule in provisioners._ec2_sg_permissions([properties]):
            rules(properties).remove(rule)

    return {"create": create, "delete": delete}


if __name__ == "__main__":
    try:
        add_resource_types(import_module(_PROVISIONERS))
        name_errors(import_module(_FUNCTIONS))
    except (ImportError, RuntimeError) as problem:
        sys.exit(str(problem))
    import_module("ministack.app").main()
