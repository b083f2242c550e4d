"""The Prefect flow: the same DAG, store and stages as the local engine, with Prefect's graph, states and schedules."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import State, flow
from prefect.futures import wait
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from tag2mask.configs.load import ConfigError
from tag2mask.configs.runtime import BadResource, Device, Executor, Precision, Runtime, runtime_of
from tag2mask.configs.schema import Config
from tag2mask.flows.dag.errors import MissingInput, RunFailed, UnknownNode
from tag2mask.flows.dag.outcome import RunResult
from tag2mask.flows.dag.planning import plan
from tag2mask.flows.dag.record import latest
from tag2mask.flows.engine.retraining import Retrain
from tag2mask.flows.engine.running import Selection, conclude, report_path, run_config
from tag2mask.flows.engine.session import Session
from tag2mask.flows.node_task import Futures, settle_lost, submit_node
from tag2mask.flows.pages.gate_page import show_measured, show_publication
from tag2mask.flows.pages.progress_pages import ProgressPages
from tag2mask.flows.pages.run_pages import RunPages, report_address, warn_on_failure
from tag2mask.flows.serving.lost_runs import mark_alive, mark_lost_runs
from tag2mask.flows.serving.missed_runs import cancelled_if_superseded
from tag2mask.flows.serving.parameters import SERVED, Served, load_permitted, permitted_dask, served_here
from tag2mask.flows.serving.slots import TrainingSlot
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.store.store import Store

TASK_RUNNER: Any = ThreadPoolTaskRunner()
"""As many threads as there are tasks: most of them wait for cores."""


def _run_name() -> str:
    return " ".join([dataset_name(flow_run.parameters), "regenerate", *(flow_run.parameters.get("changes") or [])])


def dataset_name(parameters: Mapping[str, Any]) -> str:
    """The configuration's name, or its file's where it cannot be read: the run itself will say why."""
    path, root = Path(parameters["config_path"]), Path(parameters.get("root") or "artifacts")
    try:
        return load_permitted(path, parameters.get("changes") or [], root, permitted()).name
    except ConfigError:
        return path.stem


@flow(name="regenerate", flow_run_name=_run_name, task_runner=TASK_RUNNER, persist_result=False)
def regenerate(
    config_path: Path,
    changes: list[str] | None = None,
    only: str | None = None,
    since: str | None = None,
    until: str | None = None,
    force: list[str] | None = None,
    retrain: Retrain = "when_changed",
    root: Path = Path("artifacts"),
    device: Device = "auto",
    precision: Precision = "auto",
    cores: int | None = None,
    executor: Executor = "here",
    dask: str = "",
    devices: int = 1,
) -> State:
    """Bring all artifacts of a settings file up to date.

    Args:
        config_path: settings file, on the machine that runs the flow.
        changes: `section.key=value`.
        only: build this stage alone; what it needs must be there.
        since: build from this stage on.
        until: build up to this stage.
        force: stages to build although they are there.
        retrain: label new images with the models of the last run (`never`), train where data or settings changed,
            or train anew in any case.
        root: folder of the artifact store.
        device: where networks run.
        precision: of the forward pass in training; `auto` takes bfloat16 where the device is faster with it.
        cores: cores to use in all; without it those available.
        executor: who works on images.
        dask: of the executor `dask`: `local`, `local:4`, or the cluster's address that `serve` was started with.
        devices: processes that share a training's batches, a GPU each.

    Returns:
        Completed with the report's path, Failed with the causes, or Cancelled where a later night is due as well.
    """
    if (superseded := cancelled_if_superseded(UUID(flow_run.id))) is not None:
        return superseded
    try:
        config = load_permitted(config_path, changes or [], root, permitted())
        runtime = runtime_of(root, device, precision, cores, executor, permitted_dask(dask, permitted()), devices)
    except (ConfigError, BadResource) as error:
        return Failed(message=str(error))
    return bring_up_to_date(config, runtime, Selection(only, since, until, force or (), retrain))


def permitted() -> Served | None:
    """What the parameters of the current flow run may name; None where they came from the command line.

    Raises:
        ConfigError: a deployment started the run, and nothing says what deployments may name.
    """
    if deployment.id is None:
        return None
    served = served_here()
    if served is None:
        raise ConfigError(f"{SERVED} is not set for this run: make prefect.yaml anew with `tag2mask prefect-yaml`")
    return served


def bring_up_to_date(config: Config, runtime: Runtime, selection: Selection) -> State:
    """Run a configuration in the current flow run.

    Returns:
        Completed with the report's path, or Failed with the causes.
    """
    store = Store(runtime.root).create()
    mark_alive(store, UUID(flow_run.id))  # first: a retry has the lock's file of its first attempt
    with warn_on_failure("the end of a run that was killed"):
        mark_lost_runs(store)
    try:
        result = run_config(config, runtime, selection, partial(submit_all, config=config))
        ending = conclude(config, store.root, result)
    except (RunFailed, UnknownNode, MissingInput, WeightsError) as error:
        return Failed(message=str(error))
    if ending.publication is not None:
        show_publication(config.name, ending.publication)
    record, report = latest(store.root, config.name), ending.report
    shown = None if report is None else f"report: {report_address(report) or report}"
    facts = {} if record is None else record.content
    parts = [facts.get("images"), facts.get("release", {}).get("summary"), shown]
    return Completed(message="; ".join(filter(None, parts)) or None, data=None if report is None else str(report))


def submit_all(session: Session, config: Config) -> RunResult:
    """Run the nodes of a session as tasks of the current flow run.

    The session's budget of cores decides who works; a task that waits for cores or for other tasks only holds a thread.

    Args:
        session: the nodes, the store, and where to note how they end.
        config: the settings, whose name and whose gate the pages show.
    """
    dataset = config.name
    before = latest(session.store.root, dataset)
    pages = RunPages(dataset, before)
    pages.show_plan(plan(session.nodes, session.store, before, force=session.force, kept=session.kept))
    session.listener = ProgressPages(dataset, session.listener)
    if session.runtime.slot:
        session.place = TrainingSlot(session.runtime.slot, session.stop, UUID(flow_run.id)).held
    futures: Futures = {}
    with session.store.lock("run", shared=True):
        try:
            for node in session.nodes:
                futures[node.name] = submit_node(session, node, futures, pages)
            wait(list(futures.values()))
        except BaseException:
            session.end()
            raise
    settle_lost(session)
    session.result.sort(session.nodes)
    pages.show_result(session.result, report_path(session.result))
    show_measured(config, session.store, session.result)
    return session.result
