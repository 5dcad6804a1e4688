"""Deploy mirrors to emulated AWS, with CDK and without, and use them: `make deploy-local`.

The stacks are the same as on AWS, with two exceptions: AWS is emulated, and the emulated cache has
neither TLS nor IAM nor a fixed port. The deployed functions are configured for that.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from cdk_command import CdkCommand, install_cdk
from command_line import CommandLine
from deployed_mirror import DeployedMirror, check_stack_deleted, disable_tls_and_iam
from dynamirror.cache.client import Cache
from dynamirror.errors import DynamirrorError
from emulated_aws import emulated
from inspection import check_inspector
from monitoring import check_monitoring
from packaged_mirror import PackagedMirror
from second_mirror import STACK as SECOND_STACK
from second_mirror import SecondMirror

STACK = "Dynamirror-demo"

# Settings for real AWS must not reach CDK or the functions.
_NOT_INHERITED = ("AWS_", "CDK_", "ELASTICACHE_", "DYNAMIRROR_", "DYNAMODB_")


def run(report: Callable[[str], None]) -> None:
    """Deploy two mirrors, use both, try to turn one into another, and delete both.

    Then deploy the package without CDK, use that mirror, and delete it.

    Args:
        report: called with a sentence after each step.

    Raises:
        DynamirrorError: a step failed.
    """
    install_cdk()
    report("CDK command line: installed")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-local-")))
        emulator = stack.enter_context(emulated(folder))
        cache = stack.enter_context(closing(Cache(emulator.cache)))
        report(f"emulated AWS: at {emulator.endpoint_url}, with a real Valkey")
        cdk = CdkCommand(emulator, folder, STACK)
        cdk.bootstrap()
        report("cdk bootstrap: done")
        outputs = cdk.deploy(alarmEmail="nobody@example.com", inspector="true")
        report(f"cdk deploy: {', '.join(f'{name}={outputs[name]}' for name in sorted(outputs))}")
        deployed = DeployedMirror(emulator, cache, outputs)
        disable_tls_and_iam(emulator.client("lambda"), emulator.cache.port)
        report("functions: use the cache at its port, without TLS and IAM")
        operator = CommandLine(STACK, emulator.environment())
        # The emulator starts a process for each segment.
        backfill = operator.start("backfill", "--segments", "2")
        stack.callback(backfill.kill)
        for step, change in {
            "put": lambda: deployed.put("first"),
            "change": lambda: deployed.put("second"),
            "delete": deployed.delete,
        }.items():
            change()
            comparison = deployed.wait_until_mirrored()
            report(f"{step}: mirrored, {comparison.entries} entries")
        deployed.simulate()
        report("simulator: 200")
        comparison = deployed.wait_until_mirrored()
        report(f"table and cache: {comparison.items} items, {comparison.differences} differences")
        progress = operator.end("backfill", backfill)
        report(f"backfill --via: {progress['items']} items, the mirror is complete")
        operator.run("status")
        report("status --via: the mirror is complete")
        result = operator.run("verify")
        report(f"verify --via: {result['items']} items, {result['differences']} differences")
        for observation in _resume(deployed):
            report(observation)
        operator.run("quarantine")
        report("quarantine --via: it is empty")
        for observation in check_monitoring(emulator.client, STACK, outputs):
            report(observation)
        report(f"inspector: {check_inspector(emulator, outputs, deployed)}")
        second = SecondMirror(emulator, folder, cache)
        orders = second.deploy()
        report(f"second mirror: stack {SECOND_STACK} mirrors table {orders.table}")
        for refusal in second.deploy_other_table():
            report(f"refused by {refusal}")
        second.check_untouched()
        orders.put("after the refusals")
        deployed.put("beside the second mirror")
        for name, mirror in {"table orders": orders, "table": deployed}.items():
            comparison = mirror.wait_until_mirrored()
            report(f"{name}: {mirror.table}, {comparison.items} items, 0 differences")
        for name, mirror_cdk in {STACK: cdk, SECOND_STACK: second.cdk}.items():
            mirror_cdk.destroy()
            check_stack_deleted(emulator, name)
            report(f"cdk destroy: stack {name} is deleted")
        for observation in _deploy_package(PackagedMirror(emulator, folder, cache)):
            report(observation)


def _deploy_package(packaged: PackagedMirror) -> Iterator[str]:
    """Deploy and delete a mirror without CDK, and yield what was seen."""
    yield f"dynamirror package: {packaged.build()}"
    mirror = packaged.deploy()
    yield f"template without CDK: its stack mirrors table {mirror.table}"
    for step, change in {
        "put": lambda: mirror.put("first"),
        "change": lambda: mirror.put("second"),
        "delete": mirror.delete,
    }.items():
        change()
        yield f"{step}: mirrored, {mirror.wait_until_mirrored().entries} entries"
    packaged.delete()
    yield "template without CDK: its stack is deleted"


def _resume(deployed: DeployedMirror) -> Iterator[str]:
    """Rebuild and verify in invocations too short for it, and yield what was seen.

    Raises:
        DynamirrorError: a job failed, or needed no second invocation.
    """
    deployed.shorten_invocations()
    output = deployed.run_machine(action="backfill", segments=1)
    swept, times = output["swept"], deployed.resumed("sweep")
    if not times:
        raise DynamirrorError("no sweep was resumed")
    yield f"sweep: resumed {times} times, {swept['entries']} entries"
    result, times = deployed.run_machine(action="verify", segments=1), deployed.resumed("verify")
    if not times:
        raise DynamirrorError("no verification was resumed")
    yield f"verification: resumed {times} times, {result['items']} items"


def main() -> int:
    """Run all steps, print each with its time, and return the exit status."""
    if arguments := sys.argv[1:]:
        print(f"deploy-local: takes no arguments, but got {' '.join(arguments)}", file=sys.stderr)
        return 2
    begin = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - begin:6.1f} s  {text}", flush=True)

    for name in [name for name in os.environ if name.startswith(_NOT_INHERITED)]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(report)
    except DynamirrorError as error:
        print(f"deploy-local: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deploy-local: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
