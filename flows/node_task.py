"""The bridge to Prefect: a node of the DAG as a task whose state says truly what the cache held.

Prefect's own cache is off.  A hit in our store is a completed state named `Cached` that says which artifact.
"""

from typing import Any

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed

from tag2mask.flows.dag.errors import Stopped
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.outcome import Outcome
from tag2mask.flows.engine.console import headline
from tag2mask.flows.engine.retries import DELAYS, worth_retrying
from tag2mask.flows.engine.session import Session
from tag2mask.flows.pages.run_pages import RunPages

Futures = dict[str, PrefectFuture[Any]]


def submit_node(session: Session, node: Node, upstream: Futures, pages: RunPages) -> PrefectFuture[Any]:
    """Submit a node as a task of the current flow run; the futures of its upstream nodes become edges of the graph.

    The task's data is the label of the artifact (`stage/key`), not the artifact: futures are cheap to pass on.
    """
    attempts, transient = 0, False

    @task(
        name=node.name,  # a task that never starts keeps it as its name
        task_run_name=f"{node.name} {pages.dataset}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(DELAYS),  # without a delay of its own: Prefect sleeps through a cancellation
        retry_condition_fn=lambda *_: transient and not session.stop.is_set(),
    )
    def build_node(upstream: dict[str, str]) -> State:
        nonlocal attempts, transient
        attempts += 1
        known = {name: session.result.outcomes[name].artifact for name in upstream}
        try:
            if attempts > 1:
                session.pause(node, DELAYS[attempts - 2])
            outcome = session.run_node(node, known)
        except Exception as error:  # whatever a stage raises fails its task, and the run goes on beside it
            transient = worth_retrying(error)
            session.settle(node, error)
            failure = session.result.failures[node.name]
            if failure.trace:
                get_run_logger().error("%s", failure.trace)
            return Failed(message=failure.message)
        session.settle(node, outcome)
        pages.stage_made(session, outcome)
        return _completed(outcome)

    futures: Any = {name: upstream[name] for name in node.upstream}
    return build_node.submit(upstream=futures)


def _completed(outcome: Outcome) -> State:
    artifact = outcome.artifact
    if outcome.cached:
        if outcome.kept:
            return Completed(name="Kept", message=outcome.note, data=artifact.label)
        return Completed(name="Cached", message=f"artifact {artifact.label} is up to date", data=artifact.label)
    made = f"made artifact {artifact.label} in {outcome.seconds:.0f} s"
    message = ", ".join(filter(None, (made, headline(outcome), outcome.note)))
    return Completed(message=message, data=artifact.label)


def settle_lost(session: Session) -> None:
    """Note the nodes that Prefect did not run because something that they need failed."""
    for node in session.nodes:
        if node.name not in session.result.outcomes and node.name not in session.result.failures:
            lost = next((name for name in node.upstream if name in session.result.failures), None)
            session.settle(node, Stopped(f"not run: needs {lost}" if lost else "not run: the run was stopped"))
