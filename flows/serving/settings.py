"""Environment variables: Prefect's, to be set before it is imported, and those of our server; how that is started.

Of Prefect's, what the user has set stays.
"""

import os
from collections.abc import Sequence
from pathlib import Path

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # the newer UI asks its analytics vendor, whatever the settings say
    "PREFECT_SERVER_UI_API_URL": "/api",  # wherever the page came from: by another port of a tunnel, or through a proxy
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    # A slot that is held survives a restart of the server, and comes back when its holder is dead.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # Task runs are written from a queue in memory: short batches lose and delay little.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the terminal has our own lines; the UI keeps INFO
    "PREFECT_LOGGING_EXTRA_LOGGERS": "tag2mask",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
"""No telemetry, slots that come back, a quiet terminal, and the stages' log in the UI."""
SERVER_ADDRESS = "127.0.0.1", 4200
"""Where a server listens unless an option or the environment says otherwise."""


def set_prefect_defaults() -> None:
    """Set what is not set yet, and make Prefect's home if the environment names one."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    home = os.environ.get("PREFECT_HOME")
    if home:  # Prefect makes the last folder of the path alone, and its server fails without one
        Path(home).expanduser().mkdir(parents=True, exist_ok=True)


SERVER_STORE, SERVER_URL, SERVER_NAMES = "TAG2MASK_SERVER_STORE", "TAG2MASK_SERVER_URL", "TAG2MASK_SERVER_NAMES"
"""Environment variables of a server: folder of its store, address of its API, further names of it (commas between)."""
TEMPORARY = "TAG2MASK_SERVER_TEMPORARY"
"""Environment variable of a server that belongs to one run: it ends when its input does."""


def server_variables(root: Path, address: str, names: Sequence[str]) -> dict[str, str]:
    """Environment by which the guarded server knows its store, its address and its names."""
    own = {SERVER_STORE: str(root.absolute()), SERVER_URL: address, SERVER_NAMES: ",".join(names)}
    return own | {"PREFECT__SERVER_FINAL": "1"}  # one application in the process, as `prefect server start` says it


def uvicorn_arguments(host: str, port: int, *, proxied: bool = False) -> list[str]:
    """Arguments of Python that start the guarded server.

    Args:
        host: address to listen on.
        port: port to listen on.
        proxied: believe what a proxy on this machine says of its clients.
    """
    return [
        *("-m", "uvicorn", "--factory", "tag2mask.flows.serving.guarded_server:guarded_server"),
        *("--host", host, "--port", str(port), "--timeout-keep-alive", "5"),
        *("--log-level", os.environ.get("PREFECT_SERVER_LOGGING_LEVEL", "warning").lower()),
        "--proxy-headers" if proxied else "--no-proxy-headers",
    ]
