"""A run that finds every artifact: its tasks are reported to Prefect as what they are, finished before they began.

Each is one event instead of three, without a thread, an engine and a future: what Prefect adds to such a run is its
flow run.  The server shows the same tasks, states and edges as for a run of `node_task`.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from prefect.client.schemas.objects import TaskRun, TaskRunResult
from prefect.runtime import flow_run
from prefect.utilities.engine import emit_task_run_state_change_event

from tag2mask.flows.dag.outcome import Outcome
from tag2mask.flows.dag.planning import PlanRow
from tag2mask.flows.engine.session import Session
from tag2mask.flows.node_task import completed


def report_cached(session: Session, rows: Sequence[PlanRow], dataset: str) -> None:
    """Settle all nodes of a session with the artifacts that were found, and report them to Prefect.

    Args:
        session: of the current flow run.
        rows: one per node, in the DAG's order, each with its artifact.
        dataset: the configuration's name, which the tasks' names end with.
    """
    reported: dict[str, UUID] = {}
    for row in rows:
        assert row.artifact is not None
        outcome = Outcome(row.node, row.artifact, cached=True, seconds=0.0)
        session.settle(row.node, outcome)
        session.listener.finished(outcome)
        reported[row.node.name] = _emit(outcome, [reported[name] for name in row.node.upstream], dataset)


def _emit(outcome: Outcome, upstream: Sequence[UUID], dataset: str) -> UUID:
    """Report one task of the current flow run; its id."""
    name, state = outcome.node.name, completed(outcome)
    now: Any = state.timestamp  # Prefect gives it another type than it takes
    run = TaskRun(
        id=uuid4(),
        name=f"{name} {dataset}",
        flow_run_id=UUID(flow_run.id),
        task_key=name,
        dynamic_key="0",
        run_count=1,
        task_inputs={"upstream": [TaskRunResult(id=other) for other in upstream]},
        expected_start_time=now,
        start_time=now,
        end_time=now,
        state=state,
    )
    emit_task_run_state_change_event(run, initial_state=None, validated_state=state)
    return run.id
