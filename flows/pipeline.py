"""The Prefect flow: the same DAG, store and stages as the local engine, with Prefect's graph, states and schedules."""

from pathlib import Path
from typing import Any, Literal

from prefect import State, flow
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from tag2mask.configs.load import load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.flows.execution import Session
from tag2mask.flows.outcome import RunResult
from tag2mask.flows.running import RunFailed, Selection, run_and_tell
from tag2mask.flows.step import Futures, settle_lost, submit_step

TASK_RUNNER: Any = ThreadPoolTaskRunner()
"""As many threads as there are tasks: most of them wait for cores."""


def _run_name() -> str:
    parameters = flow_run.parameters
    return " ".join([Path(parameters["config_path"]).stem, *(parameters.get("changes") or [])])


@flow(name="regenerate", flow_run_name=_run_name, task_runner=TASK_RUNNER, persist_result=False)
def regenerate(
    config_path: Path,
    changes: list[str] | None = None,
    only: str | None = None,
    since: str | None = None,
    until: str | None = None,
    force: list[str] | None = None,
    root: Path = Path("artifacts"),
    device: Literal["auto", "cpu", "cuda"] = "auto",
    cores: int | None = None,
) -> State:
    """Bring all artifacts of a settings file up to date.

    Args:
        config_path: settings file, on the machine that runs the flow.
        changes: `section.key=value`.
        only: build this stage alone; what it needs must be there.
        since: build from this stage on.
        until: build up to this stage.
        force: stages to build although they are there.
        root: folder of the artifact store.
        device: where networks run.
        cores: cores to use in all; without it those available.

    Returns:
        Completed with the report's path, or Failed with the causes.
    """
    runtime = Runtime(root=root, device=device, **({} if cores is None else {"cores": cores}))
    config = load_config(config_path, changes or [])
    try:
        report = run_and_tell(config, runtime, Selection(only, since, until, force or ()), submit_all)
    except RunFailed as error:
        return Failed(message=str(error))
    return Completed(message=f"report: {report}" if report else None, data=None if report is None else str(report))


def submit_all(session: Session) -> RunResult:
    """Run the nodes of a session as tasks of the current flow run.

    The session's budget of cores decides who works; a task that waits for cores or for other tasks only holds a thread.
    """
    futures: Futures = {}
    with session.store.lock("run", shared=True):
        try:
            for node in session.nodes:
                futures[node.name] = submit_step(session, node, futures)
            wait(list(futures.values()))
        except BaseException:
            session.end()
            raise
    settle_lost(session)
    return session.result
