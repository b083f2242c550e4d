"""The commands `server` and `serve`: Prefect's server with our settings, and what it runs."""

import ipaddress
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tag2mask.configs.load import ConfigError
from tag2mask.configs.runtime import runtime_of
from tag2mask.flows.cli.main import (
    ROOT,
    Changes,
    Cores,
    Dask,
    Device,
    Devices,
    Executor,
    Precision,
    RetrainWhen,
    Root,
    app,
)
from tag2mask.flows.dag.record import KEPT_RUNS
from tag2mask.flows.serving.settings import SERVER_ADDRESS, server_variables, set_prefect_defaults, uvicorn_arguments
from tag2mask.flows.serving.store_server import (
    SERVER_PASSWORD,
    NoServer,
    announced,
    answers,
    find_server,
    make_password,
    named_in_profile,
    password_file,
    password_of,
)

SERVER_PORT = "PREFECT_SERVER_API_PORT"
"""Environment variable with the server's port."""
REPORTS_PORT = 4280
Configs = Annotated[list[Path], typer.Argument(metavar="CONFIG...", help="Settings files.", show_default=False)]
Cron = Annotated[str | None, typer.Option(help='When to regenerate, e.g. "0 2 * * *".')]
Timezone = Annotated[str | None, typer.Option(help="Of the cron line, e.g. Europe/Berlin.  [default: UTC]")]

Gc = Annotated[str | None, typer.Option(help='When to collect garbage, e.g. "0 12 * * *".')]
GcKeep = Annotated[int, typer.Option(min=1, help="Runs per name whose artifacts stay, at most 12.")]


@app.command()
def server(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help=f"Port on the loopback.  [default: {SERVER_ADDRESS[1]}]")
    ] = None,
    root: Root = ROOT,
    home: Annotated[Path | None, typer.Option(help="Folder of its database.  [default: ROOT/.prefect]")] = None,
    password: Annotated[
        bool | None,
        typer.Option(
            help="Ask for a password: the environment's, the store's, or a new one.  [default: if there is one]"
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Also answer to this name, of a TLS proxy; repeatable.")
    ] = None,
) -> None:
    """Start Prefect's server and its UI for this machine: guarded, no telemetry, slots that survive a restart."""
    running = announced(root)
    if running is not None:
        raise ConfigError(f"--root {root}: a server of this store is running already, at {running}")
    host, names = os.environ.get("PREFECT_SERVER_API_HOST", SERVER_ADDRESS[0]), allow_host or []
    number = _choose_port(port)
    _check_port(host, number)
    _choose_password(root, password)
    _check_not_open(host, names)
    reached = host if _is_loopback(host) else SERVER_ADDRESS[0]
    address = f"http://{f'[{reached}]' if ':' in reached else reached}:{number}"
    if home is not None:
        os.environ["PREFECT_HOME"] = str(home.absolute())
    chosen = {
        "PREFECT_HOME": str((root / ".prefect").absolute()),
        "PREFECT_SERVER_API_HOST": host,
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": address,
    }
    for name, value in chosen.items():
        os.environ.setdefault(name, value)
    set_prefect_defaults()
    os.environ |= server_variables(root, f"{address}/api", names)
    typer.echo(f"UI: {address}")
    os.execv(sys.executable, [sys.executable, *uvicorn_arguments(host, number, proxied=bool(names))])


def _choose_port(given: int | None) -> int:
    """The port of the option, else of the environment, else the usual one; the environment has it then.

    Raises:
        ConfigError: that of the environment is no number.
    """
    text = str(given or os.environ.get(SERVER_PORT) or SERVER_ADDRESS[1])
    if not text.isdecimal():
        raise ConfigError(f"{SERVER_PORT}={text}: write the number of a port, such as {SERVER_ADDRESS[1]}")
    os.environ[SERVER_PORT] = text
    return int(text)


def _choose_password(root: Path, wanted: bool | None) -> None:
    """Let the server ask for the environment's password, or for the store's: made where it is wanted, kept where it is.

    Whoever wants none gets none, and an empty one of the environment is none.
    """
    if os.environ.get(SERVER_PASSWORD) and wanted is not False:
        return
    os.environ.pop(SERVER_PASSWORD, None)  # Prefect asks for an empty one, too
    words = make_password(root) if wanted else None if wanted is False else password_of(root)
    if words is not None:
        os.environ[SERVER_PASSWORD] = words
        typer.echo(f"password of the UI: the line in {password_file(root)}; `serve` and `run` read it by themselves")


def _check_not_open(host: str, names: Sequence[str]) -> None:
    """Refuse to be reached from outside of the machine without a password.

    Raises:
        ConfigError: it could be.
    """
    if not os.environ.get(SERVER_PASSWORD) and (names or not _is_loopback(host)):
        given = f"--allow-host {names[0]}" if names else f"PREFECT_SERVER_API_HOST={host}"
        raise ConfigError(f"{given} lets other machines in, and whoever gets in runs code as you: add --password")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_port(host: str, port: int) -> None:
    """Refuse a port that is taken.

    Raises:
        ConfigError: somebody listens there, or the host is none of this machine.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"--port {port}: cannot listen on {host}:{port} ({error.strerror}); take another"
            ) from error


@app.command()
def serve(
    configs: Configs,
    cron: Cron = None,
    timezone: Timezone = None,
    retrain: RetrainWhen = "when_changed",
    limit: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 2,
    root: Root = ROOT,
    device: Device = "auto",
    precision: Precision = "auto",
    cores: Cores = None,
    executor: Executor = "here",
    dask: Dask = "",
    devices: Devices = 1,
    reports_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Loopback port of the reports; 0 for any.")
    ] = REPORTS_PORT,
    gc: Gc = None,
    gc_keep: GcKeep = KEPT_RUNS,
) -> None:
    """Offer the whole regeneration and every stage by itself in Prefect's UI, and carry out what is started there."""
    address = check_server(root)
    from tag2mask.flows.deployments import Collection, Schedule, serve_all
    from tag2mask.flows.pages.run_pages import REPORTS_URL
    from tag2mask.flows.serving.report_server import serve_reports

    try:
        os.environ[REPORTS_URL] = serve_reports(root, reports_port)
    except OSError as error:
        raise ConfigError(f"--reports-port {reports_port}: {error.strerror}; give another one, or 0") from error
    typer.echo(f"UI: {address.removesuffix('/api')}")
    typer.echo(f"reports: {os.environ[REPORTS_URL]}")
    runtime = runtime_of(root, device, precision, cores, executor, dask, devices)
    schedule = Schedule(cron, timezone, retrain)
    serve_all(configs, runtime, schedule, limit, Collection(gc, timezone, gc_keep))


@app.command("prefect-yaml")
def prefect_yaml(
    configs: Configs,
    cron: Cron = None,
    timezone: Timezone = None,
    retrain: RetrainWhen = "when_changed",
    changes: Changes = None,
    pool: Annotated[str, typer.Option(help="Work pool of type process that carries out the runs.")] = "tag2mask",
    root: Root = ROOT,
    device: Device = "auto",
    precision: Precision = "auto",
    executor: Executor = "here",
    dask: Dask = "",
    devices: Devices = 1,
    gc: Gc = None,
    gc_keep: GcKeep = KEPT_RUNS,
) -> None:
    """Print a prefect.yaml with what `serve` offers, for `prefect deploy --all` and a worker."""
    set_prefect_defaults()
    from tag2mask.flows.deployments import Collection, Schedule, pool_file

    runtime = runtime_of(root, device, precision, None, executor, dask, devices)
    schedule = Schedule(cron, timezone, retrain)
    text = pool_file(configs, runtime, schedule, changes or (), pool, Collection(gc, timezone, gc_keep))
    typer.echo(text, nl=False)


def check_server(root: Path) -> str:
    """Address of the API that the environment names, or of the store's server, or else of the user's Prefect profile.

    Args:
        root: folder of the store.

    Raises:
        NoServer: none is known, or it does not answer.
    """
    set_prefect_defaults()
    address = find_server(root) or named_in_profile()
    if address is None:
        raise _no_server(root, f"no Prefect server of the store {root} runs, and none is named")
    try:
        answers(address)
    except (OSError, ValueError) as error:
        raise _no_server(root, f"no Prefect server answers at {address} ({error})") from error
    return address


def _no_server(root: Path, problem: str) -> NoServer:
    return NoServer(
        f"{problem}.\n"
        "Start one in another terminal, on this machine:\n"
        f"  tag2mask server{'' if root == ROOT else f' --root {root}'}\n"
        "or name one that runs elsewhere:\n"
        "  export PREFECT_API_URL=http://HOST:PORT/api   (and PREFECT_API_AUTH_STRING, if it asks for one)"
    )
