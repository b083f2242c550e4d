"""The commands `server` and `serve`: Prefect's server with our settings, and what it is told to run."""

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated

import typer

from tag2mask.configs.errors import UserError
from tag2mask.configs.load import ConfigError
from tag2mask.configs.runtime import runtime_of
from tag2mask.flows.cli.main import ROOT, Changes, Cores, Device, Precision, RetrainWhen, Root, app
from tag2mask.flows.serving.settings import SERVER_ADDRESS, set_prefect_defaults

REPORTS_PORT = 4280
Configs = Annotated[list[Path], typer.Argument(metavar="CONFIG...", help="Settings files.", show_default=False)]
Cron = Annotated[str | None, typer.Option(help='When to regenerate, e.g. "0 2 * * *".')]
Timezone = Annotated[str | None, typer.Option(help="Of the cron line, e.g. Europe/Berlin.  [default: UTC]")]


class NoServer(UserError, RuntimeError):
    """No Prefect server answers; the message says how to start one."""


@app.command()
def server(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on the loopback.")] = SERVER_ADDRESS[1],
    home: Annotated[Path | None, typer.Option(help="Folder of its database.  [default: artifacts/.prefect]")] = None,
) -> None:
    """Start Prefect's server and its UI on this machine, with no telemetry and slots that survive a restart."""
    chosen = {
        "PREFECT_HOME": str((home or ROOT / ".prefect").absolute()),
        "PREFECT_SERVER_API_HOST": SERVER_ADDRESS[0],
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": f"http://{SERVER_ADDRESS[0]}:{port}/api",
    }
    chosen["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = chosen["PREFECT_API_URL"].removesuffix("/api")
    for name, value in chosen.items():
        os.environ.setdefault(name, value)
    set_prefect_defaults()
    os.execv(sys.executable, [sys.executable, "-m", "prefect", "server", "start"])


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
    reports_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Loopback port of the reports; 0 for any.")
    ] = REPORTS_PORT,
) -> None:
    """Offer the whole regeneration and every stage by itself in Prefect's UI, and carry out what is started there."""
    address = check_server()
    from tag2mask.flows.deployments import Schedule, serve_all
    from tag2mask.flows.pages.run_pages import REPORTS_URL
    from tag2mask.flows.serving.report_server import serve_reports

    try:
        os.environ[REPORTS_URL] = serve_reports(root, reports_port)
    except OSError as error:
        raise ConfigError(f"--reports-port {reports_port}: {error.strerror}; give another one, or 0") from error
    typer.echo(f"UI: {address.removesuffix('/api')}")
    typer.echo(f"reports: {os.environ[REPORTS_URL]}")
    serve_all(configs, runtime_of(root, device, precision, cores), Schedule(cron, timezone, retrain), limit)


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
) -> None:
    """Print a prefect.yaml with what `serve` offers, for `prefect deploy --all` and a worker."""
    set_prefect_defaults()
    from tag2mask.flows.deployments import Schedule, pool_file

    runtime, schedule = runtime_of(root, device, precision, None), Schedule(cron, timezone, retrain)
    text = pool_file(configs, runtime, schedule, changes or (), pool)
    typer.echo(text, nl=False)


def check_server() -> str:
    """Address of the API that is configured, or else of a server on this machine's usual port.

    Raises:
        NoServer: nothing answers there.
    """
    set_prefect_defaults()
    host, port = SERVER_ADDRESS
    address = os.environ.setdefault("PREFECT_API_URL", f"http://{host}:{port}/api")
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=10):
            return address
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise NoServer(
            f"no Prefect server answers at {address} ({error}).\n"
            "Start one in another terminal, on this machine:\n"
            "  tag2mask server\n"
            "or name one that runs elsewhere:\n"
            "  export PREFECT_API_URL=http://HOST:PORT/api   (and PREFECT_API_AUTH_STRING, if it asks for one)"
        ) from error
