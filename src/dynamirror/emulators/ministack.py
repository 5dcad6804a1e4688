"""AWS on this machine, by the emulator ministack."""

import sys
from pathlib import Path

from dynamirror.emulators.process import HOST, ServerProcess, answers


def start_ministack(
    services: str | None = None, *, script: Path | None = None, **variables: str
) -> ServerProcess:
    """Start ministack on a free port, and return its process.

    Args:
        services: names of the services, separated by commas; None for all.
        script: program that starts it, and whose Lambda functions call it; None for its own.
        variables: further environment variables.
    """
    program = [str(script)] if script else ["-P", "-m", "ministack"]

    def environment(port: int) -> dict[str, str]:
        # By default it listens on every address.
        env = {"BIND_HOST": HOST, "GATEWAY_PORT": str(port), **variables}
        if services:
            env["SERVICES"] = services
        if script:
            env["AWS_ENDPOINT_URL"] = f"http://{HOST}:{port}"
        return env

    return ServerProcess(
        "ministack",
        lambda _port, _folder: [sys.executable, *program],
        env=environment,
        ready=answers,
    )
