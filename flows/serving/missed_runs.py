"""Nights that were missed while the machine was off: of all that are due, the last one runs, and it runs once."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import State, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

PAGE = 200
"""Runs asked for at once; the server's own limit."""


def superseded_by(flow_run_id: UUID) -> FlowRun | None:
    """The later run of the same schedule that is due as well, so that this one need not run; None for any other run.

    One that failed does nobody's work.
    """
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run_id)
        if run.deployment_id is None or not run.auto_scheduled:
            return None
        due = [other for other in _due(client, run.deployment_id) if not _failed(other)]
        expected = run.expected_start_time
        later = [other for other in due if expected and (other.expected_start_time or expected) > expected]
        return later[-1] if later else None


def cancelled_if_superseded(flow_run_id: UUID) -> State | None:
    """The state of a run whose work a later one of the same schedule does; None for any other."""
    later = superseded_by(flow_run_id)
    if later is None:
        return None
    with get_client(sync_client=True) as client:
        return Cancelled(message=missed(client.read_flow_run(flow_run_id), later))


def drop_missed_runs(deployment: str) -> int:
    """Cancel all due runs of the schedule of a deployment, `flow/name`, but the last; how many."""
    with get_client(sync_client=True) as client:
        try:
            deployment_id = client.read_deployment_by_name(deployment).id
        except ObjectNotFound:
            return 0
        waiting = [run for run in _due(client, deployment_id) if run.state is not None and run.state.is_scheduled()]
        for run in waiting[:-1]:
            client.set_flow_run_state(run.id, Cancelled(message=missed(run, waiting[-1])), force=True)
        return max(0, len(waiting) - 1)


def missed(run: FlowRun, later: FlowRun) -> str:
    """Why a run is not carried out."""
    return f"missed ({_time(run)}): nothing was serving then; the run of {_time(later)} does its work"


def _due(client: SyncPrefectClient, deployment_id: UUID) -> list[FlowRun]:
    """Runs that the schedule wanted by now and that were not cancelled, the newest `PAGE`, earliest first."""
    now: Any = datetime.now(UTC)
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=now),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=PAGE,
    )
    wanted = [run for run in runs if run.auto_scheduled and run.state is not None and not run.state.is_cancelled()]
    return sorted(wanted, key=lambda run: run.expected_start_time or datetime.min.replace(tzinfo=UTC))


def _failed(run: FlowRun) -> bool:
    return run.state is not None and (run.state.is_failed() or run.state.is_crashed())


def _time(run: FlowRun) -> str:
    return f"{run.expected_start_time:%Y-%m-%d %H:%M} UTC" if run.expected_start_time else "an unknown time"
