"""Runs whose process is gone: found by a lock that the kernel gives back, and marked, so that none runs for ever.

The process of a flow run holds the lock `flow-<id>` of its store until it ends.  Whoever can take that lock knows that
it is gone, by whatever means.  The lock's file is removed by the first look that finds nothing more to mark: the server
writes the states of tasks some time after they are sent, also those of a process that is gone.
"""

import logging
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import State, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from tag2mask.tasks.store.store import Store

YOUNGEST = 15.0
"""Seconds: a younger lock, or state of a run, may belong to a run that is just about to take the lock."""
START_SECONDS = 600.0
"""Seconds that a process may take from its run's state `Pending` to its first line."""
LOST = "its process is gone (killed, or the machine went down); what it had finished is kept: run it again"
logger = logging.getLogger(__name__)
_alive = ExitStack()
"""The locks of this process's runs; the kernel gives them back."""


def mark_alive(store: Store, flow_run_id: UUID) -> None:
    """Show that a flow run's process lives, until it ends: the run's last state is set after its last line."""
    _alive.enter_context(store.lock(f"flow-{flow_run_id}"))


def mark_lost_runs(store: Store, *, youngest: float = YOUNGEST) -> list[UUID]:
    """Mark the runs of a store whose process is gone as crashed, and their tasks; the ids of those that were not yet.

    Args:
        store: the store they worked in.
        youngest: age of a lock in seconds below which it is left alone.
    """
    found = []
    for path in (store.root / ".locks").glob("flow-*.lock"):
        try:
            if time.time() - path.stat().st_mtime < youngest:
                continue
            with store.lock(path.stem, wait=False), get_client(sync_client=True) as client:
                flow_run_id = UUID(path.stem.removeprefix("flow-"))
                run = _run_of(client, flow_run_id)
                if run is not None and _is_about_to_run(run, youngest):
                    continue
                run_marked, tasks_marked = (False, 0) if run is None else _mark(client, run)
                if run_marked:
                    logger.warning("flow run %s: %s", flow_run_id, LOST)
                    found.append(flow_run_id)
                if not run_marked and not tasks_marked:
                    path.unlink(missing_ok=True)  # nobody waits for it
        except (BlockingIOError, FileNotFoundError):
            continue  # alive, or ended just now
    return found


def _run_of(client: SyncPrefectClient, flow_run_id: UUID) -> FlowRun | None:
    """What the server knows of a run; None where it is another server's."""
    try:
        return client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return None


def _is_about_to_run(run: FlowRun, youngest: float) -> bool:
    """Whether a run may be between two attempts, which share an id: the first one's lock is there, and free."""
    if run.state is None or run.state.is_final():
        return False
    age = (datetime.now(UTC) - run.state.timestamp).total_seconds()
    return run.state.is_scheduled() or age < (START_SECONDS if run.state.is_pending() else youngest)


def _mark(client: SyncPrefectClient, run: FlowRun) -> tuple[bool, int]:
    """Mark a run's tasks, then the run, unless they have ended; whether the run was marked, and how many tasks."""
    flow_run_id = run.id
    if run.state is not None and (run.state.is_completed() or run.state.is_failed()):
        return False, 0  # ended by itself: its tasks have ended too, even if that is not written yet
    tasks_marked = mark_tasks(client, flow_run_id)
    if run.state is None or run.state.is_final():
        return False, tasks_marked
    state: State[Any] = Cancelled(message="cancelled") if run.state.is_cancelling() else Crashed(message=LOST)
    client.set_flow_run_state(flow_run_id, state, force=True)
    return True, tasks_marked


def mark_tasks(client: SyncPrefectClient, flow_run_id: UUID) -> int:
    """Mark the unfinished tasks of a run that has ended, and count them: the server leaves them `Running` for ever."""
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    unfinished = [
        task
        for task in client.read_task_runs(flow_run_filter=chosen)
        if task.state is not None and not task.state.is_final()
    ]
    for task in unfinished:
        client.set_task_run_state(task.id, Crashed(message=LOST), force=True)
    return len(unfinished)
