"""A run as it is asked for, and the engine that carries it out: this process, or Prefect."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tag2mask.configs.load import load_config
from tag2mask.configs.runtime import BadResource, Runtime
from tag2mask.configs.schema import Config
from tag2mask.flows.dag.errors import RunFailed, RunStopped
from tag2mask.flows.engine.running import Selection, conclude, finds_everything, run_config
from tag2mask.flows.engine.session import execute
from tag2mask.flows.serving.settings import set_prefect_defaults
from tag2mask.flows.serving.store_server import API_URL, find_server, named_in_profile
from tag2mask.flows.serving.temporary_server import TemporaryServer, temporary_server
from tag2mask.flows.termination import termination_interrupts

if TYPE_CHECKING:
    from prefect import State

Engine = Literal["auto", "local", "prefect"]


@dataclass(frozen=True)
class Request:
    """A run as it is asked for on the command line."""

    config_path: Path
    changes: Sequence[str]
    selection: Selection
    runtime: Runtime
    engine: Engine


def run(request: Request) -> None:
    """Run what is asked for, with the engine asked for.

    Raises:
        ConfigError: the settings are wrong.
        RunFailed: a stage failed.
        RunStopped: Ctrl-C or SIGTERM.
    """
    try:
        with termination_interrupts():
            config, root = load_config(request.config_path, request.changes), request.runtime.root
            place = _place(request, config)
            if place == "here":
                conclude(config, root, run_config(config, request.runtime, request.selection, execute))
                return
            with temporary_server(root) if place == "own server" else nullcontext() as server:
                state = _flow(server)(**_parameters(request), return_state=True)
            if not state.is_completed():
                raise RunFailed(state.message or f"the flow run ended as {state.name}")
    except KeyboardInterrupt as interruption:
        raise RunStopped("stopped; finished work is kept, and the same command goes on from there") from interruption


def _place(request: Request, config: Config) -> Literal["here", "server", "own server"]:
    """Where a run is carried out: in this process, on a server of Prefect's that runs, or on one of its own."""
    if request.runtime.machines and request.engine == "prefect":
        raise BadResource("--machines: trainings are shared by machines with --engine local alone")
    if request.runtime.machines or chosen(request.engine, request.runtime.root) == "local":
        return "here"
    if os.environ.get(API_URL) or named_in_profile():
        return "server"
    return "here" if finds_everything(config, request.runtime, request.selection) else "own server"


def _flow(server: TemporaryServer | None) -> "Callable[..., State]":
    """The flow of a run, on the server that Prefect knows of; one that is starting is waited for."""
    set_prefect_defaults()
    from tag2mask.flows.regenerate import regenerate  # loads Prefect, while the server starts

    if server is not None:
        server.wait()
    return regenerate


def _parameters(request: Request) -> dict[str, Any]:
    """A request as the flow's parameters."""
    runtime, selection = request.runtime, request.selection
    resources = ("root", "device", "precision", "cores", "executor", "dask", "devices")
    return {
        "config_path": request.config_path.absolute(),
        "changes": list(request.changes),
        "only": selection.only,
        "since": selection.since,
        "until": selection.until,
        "force": list(selection.force),
        "retrain": selection.retrain,
        **{name: getattr(runtime, name) for name in resources},
    }


def chosen(engine: Engine, root: Path) -> Literal["local", "prefect"]:
    """The engine to take: without a word, Prefect where a server of the store runs or the environment names one.

    Args:
        engine: what was asked for.
        root: folder of the artifact store.
    """
    if engine == "local":
        return "local"
    return "prefect" if find_server(root) or engine == "prefect" else "local"
