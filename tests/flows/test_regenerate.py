"""The Prefect flow: the same stages and store, and states that tell the truth; one server for all tests here."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tag2mask.flows.dag.record import latest
from tag2mask.flows.engine import running
from tag2mask.flows.engine import session as execution
from tag2mask.flows.engine.child import run_here
from tag2mask.flows.init import packaged
from tag2mask.tasks.catalog import CATALOG
from tests.flows import toys
from tests.tasks.toy_catalog import toy_stage

pytestmark = pytest.mark.slow
Regenerate = Callable[..., Any]


@pytest.fixture(scope="module")
def _server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def regenerate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _server: None) -> Regenerate:
    """The flow, on the toy DAG in a folder of its own; returns the final state.  `dag` changes the toys."""
    from tag2mask.flows.regenerate import regenerate as flow

    for name in toys.STAGES:
        monkeypatch.setitem(CATALOG, name, toy_stage(name))
    toys.install()
    monkeypatch.setattr(execution, "run_in_child", run_here)

    def run(dag: dict[str, dict[str, str]] | None = None, **parameters: Any) -> Any:
        monkeypatch.setattr(running, "build_dag", lambda config: toys.toy_dag(tmp_path, **(dag or {})))
        return flow(config_path=packaged("demo.yaml"), root=tmp_path / "store", return_state=True, **parameters)

    return run


def task_runs(state: Any, count: int) -> dict[str, Any]:
    """Name -> task run of a flow run; they are written a little after the run ends."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        for _ in range(100):
            runs = client.read_task_runs(flow_run_filter=chosen)
            if len(runs) == count and all(
                run.state and (run.state.is_final() or run.state.is_pending()) for run in runs
            ):
                break
            time.sleep(0.2)
    assert all(run.name.endswith(" demo") for run in runs if run.state_name != "NotReady")
    return {run.name.split()[0]: run for run in runs}


def test_first_run_completes_and_the_second_is_cached(regenerate: Regenerate, tmp_path: Path) -> None:
    """Stages are tasks with edges; a hit is a completed state named `Cached` that says which artifact."""
    first = task_runs(regenerate(), 5)
    assert {name: run.state_name for name, run in first.items()} == dict.fromkeys(first, "Completed")
    again = task_runs(regenerate(), 5)
    for runs in (first, again):
        parents = {str(source.id) for sources in runs["join"].task_inputs.values() for source in sources}
        assert parents == {str(runs["left_child"].id), str(runs["right_child"].id)}
    assert {run.state_name for run in again.values()} == {"Cached"}
    record = latest(tmp_path / "store", "demo")
    assert record is not None
    for name, run in again.items():
        assert run.state.is_completed()
        assert run.state.message == f"artifact {record.labels[name]} is up to date"
    assert len(toys.times_run(tmp_path)) == 5


def test_failed_stage_fails_the_run_and_spares_the_rest(regenerate: Regenerate, tmp_path: Path) -> None:
    """The run fails and names stage and cause; the other branch finishes; what needs the stage is not run."""
    state = regenerate({"left": {"does": "fail"}})
    assert state.is_failed()
    assert state.message.startswith(
        "left: left cannot be done; do something else\n2 stages that need them were not run"
    )
    runs = task_runs(state, 5)
    assert runs["left"].state.is_failed()
    assert runs["left"].state.message == "left cannot be done; do something else"
    assert runs["right_child"].state.is_completed()
    record = latest(tmp_path / "store", "demo")
    assert record is not None
    assert record.nodes["join"] == {"state": "not run", "message": "not run: needs left_child"}


def test_what_may_pass_is_tried_again(regenerate: Regenerate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure of the disk is tried again after a while and leaves no failure behind."""
    monkeypatch.setattr("tag2mask.flows.node_task.DELAYS", (0.1, 0.1))
    state = regenerate({"left": {"does": "hiccup"}})
    assert state.is_completed()
    run = task_runs(state, 5)["left"]
    assert run.state_name == "Completed" and run.run_count == 2
    assert times_of(tmp_path, "left") == 2


def times_of(folder: Path, name: str) -> int:
    """How often a node was run."""
    return toys.times_run(folder).count(name)


@pytest.mark.parametrize(("does", "reported"), [("fail", "cannot be done"), ("exhaust", "lower toy_read.batch_size")])
def test_what_cannot_pass_is_not_tried_again(
    regenerate: Regenerate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, reported: str
) -> None:
    """A wrong setting or too little memory fails at the first attempt, and the run says what to do."""
    monkeypatch.setattr("tag2mask.flows.node_task.DELAYS", (0.1, 0.1))
    state = regenerate({"left": {"does": does}})
    assert state.is_failed() and reported in state.message
    assert times_of(tmp_path, "left") == 1


def test_wrong_settings_fail_the_run_in_one_line(regenerate: Regenerate) -> None:
    """A run whose settings are wrong fails with the message of the settings."""
    state = regenerate(changes=["mining.foregroun=1"])
    assert state.is_failed() and "the nearest is 'foreground'" in state.message


def test_pages_of_a_run(regenerate: Regenerate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has a page with its plan, one with how every stage ended, and the figures and the progress of each."""
    from prefect import get_client

    monkeypatch.setattr("tag2mask.flows.pages.progress_pages.LONG_SECONDS", 0.0)
    run_id = regenerate().state_details.flow_run_id
    with get_client(sync_client=True) as client:
        found = {a.key: a for a in client.read_artifacts() if a.flow_run_id == run_id}
    stages = ("left", "right", "left-child", "right-child", "join")
    pages = {f"demo-{stage}-{kind}" for stage in stages for kind in ("metrics", "progress")}
    assert found.keys() == pages | {"demo-plan", "demo-stages"}
    assert "| `miou` | 0.5000 |" in found["demo-join-metrics"].data
    assert float(found["demo-join-progress"].data) == 100.0


def test_forced_stage_is_built_again(regenerate: Regenerate, tmp_path: Path) -> None:
    """Of a forced stage only itself is built, where its bytes stay the same."""
    regenerate()
    runs = task_runs(regenerate(force=["left"]), 5)
    assert [name for name, run in runs.items() if run.state_name == "Completed"] == ["left"]


def test_same_artifacts_with_and_without_prefect(regenerate: Regenerate, tmp_path: Path) -> None:
    """The local engine finds everything that the flow made."""
    regenerate()
    result = execution.execute(toys.session(toys.toy_dag(tmp_path), tmp_path / "store"))
    assert set(toys.states(result).values()) == {"cached"}
    record = latest(tmp_path / "store", "demo")
    assert record is not None
    assert record.labels == {name: outcome.artifact.label for name, outcome in result.outcomes.items()}
