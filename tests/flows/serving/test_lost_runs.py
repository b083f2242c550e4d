"""Runs whose process is gone are reported from those that live by their lock, and marked as the server knows them."""

import os
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import State
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelling, Completed, Crashed, Failed, Pending, Running, Scheduled

from tag2mask.flows.serving import lost_runs
from tag2mask.flows.serving.lost_runs import mark_alive, mark_lost_runs
from tag2mask.tasks.store.store import Store


class Server:
    """What a server knows of runs and their tasks, with the calls that the look for lost runs makes."""

    def __init__(self) -> None:
        self.runs: dict[uuid.UUID, State[Any]] = {}
        self.tasks: dict[uuid.UUID, dict[str, State[Any]]] = {}
        self.reported: list[object] = []

    def read_flow_run(self, run: uuid.UUID) -> Any:
        """A run, if it is known."""
        if run not in self.runs:
            raise ObjectNotFound(Exception("no such run"))
        return SimpleNamespace(id=run, state=self.runs[run])

    def read_task_runs(self, flow_run_filter: Any) -> list[Any]:
        """The tasks of a run, as far as they are written."""
        (run,) = flow_run_filter.id.any_
        return [SimpleNamespace(id=(run, name), state=state) for name, state in self.tasks.get(run, {}).items()]

    def set_flow_run_state(self, run: uuid.UUID, state: State[Any], force: bool) -> None:
        """End a run."""
        assert force
        self.reported.append(run)
        self.runs[run] = state

    def set_task_run_state(self, task: tuple[uuid.UUID, str], state: State[Any], force: bool) -> None:
        """End a task."""
        assert force
        self.reported.append(task[1])
        self.tasks[task[0]][task[1]] = state


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that knows no run yet."""
    made = Server()
    monkeypatch.setattr(lost_runs, "get_client", lambda sync_client: nullcontext(made))
    return made


def lock_of(store: Store, run: uuid.UUID, age: float = 60) -> Path:
    """The lock that a run's process left behind some seconds ago."""
    path = store.root / ".locks" / f"flow-{run}.lock"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_only_old_locks_that_nobody_holds_are_lost_runs(tmp_path: Path, server: Server) -> None:
    """A lock that is held, or so young that its run may be about to take it, is left alone; another's run is lost."""
    store, dead, young, alive = Store(tmp_path), uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    server.runs = {dead: since(60), young: since(60), alive: since(60)}
    for run, age in ((dead, 60), (young, 1), (alive, 60)):
        lock_of(store, run, age)
    mark_alive(store, alive)
    assert mark_lost_runs(store) == [dead]
    assert [run for run, state in server.runs.items() if state.is_crashed()] == [dead]


@pytest.mark.parametrize(
    ("kind", "age", "lost"),
    [
        (AwaitingRetry, 60, False),
        (Scheduled, 60, False),
        (Pending, 60, False),
        (Running, 1, False),
        (Running, 60, True),
        (Pending, 3600, True),
    ],
)
def test_a_run_between_two_attempts_is_no_lost_one(
    tmp_path: Path, server: Server, kind: Callable[..., State[Any]], age: float, lost: bool
) -> None:
    """A retry has the id of its first attempt, whose lock is old and free: until it holds that, it is left alone."""
    store, run = Store(tmp_path), uuid.uuid4()
    state = kind(timestamp=datetime.now(UTC) - timedelta(seconds=age))
    path, server.runs[run] = lock_of(store, run), state
    assert mark_lost_runs(store) == ([run] if lost else []) and server.runs[run].is_crashed() == lost
    assert path.exists()


def since(seconds: float) -> State[Any]:
    """Running for so long."""
    return Running(timestamp=datetime.now(UTC) - timedelta(seconds=seconds))


def test_tasks_are_marked_before_their_run(tmp_path: Path, server: Server) -> None:
    """Whoever sees a lost run as crashed sees its unfinished tasks so too; what had finished stays as it was."""
    store, run = Store(tmp_path), uuid.uuid4()
    lock_of(store, run)
    server.runs[run] = since(60)
    server.tasks[run] = {"infer_cams": Completed(), "train_attention": Running()}
    assert mark_lost_runs(store) == [run]
    assert server.reported == ["train_attention", run]
    assert server.tasks[run]["infer_cams"].is_completed() and server.tasks[run]["train_attention"].is_crashed()


def test_a_lost_run_is_looked_at_until_nothing_is_left_to_mark(tmp_path: Path, server: Server) -> None:
    """A task that the server writes down as running after its run was marked is marked by the next look."""
    store, run = Store(tmp_path), uuid.uuid4()
    path = lock_of(store, run)
    server.runs[run] = Running()
    assert mark_lost_runs(store, youngest=0) == [run]
    server.tasks[run] = {"train_attention": Running()}
    assert mark_lost_runs(store, youngest=0) == [] and path.exists()
    assert server.tasks[run]["train_attention"].is_crashed()
    assert mark_lost_runs(store, youngest=0) == [] and not path.exists()


@pytest.mark.parametrize("ending", [Completed(), Failed()], ids=["completed", "failed"])
def test_a_run_that_ended_by_itself_keeps_its_tasks(tmp_path: Path, server: Server, ending: State[Any]) -> None:
    """The end of a task that the server has yet to write is not overwritten after its run ended by itself."""
    store, run = Store(tmp_path), uuid.uuid4()
    path = lock_of(store, run)
    server.runs[run], server.tasks[run] = ending, {"render_report": Running()}
    assert mark_lost_runs(store) == [] and server.reported == [] and not path.exists()


def test_runs_that_others_ended(tmp_path: Path, server: Server) -> None:
    """A run being cancelled ends as cancelled, a crashed one has its tasks marked, an unknown one loses its lock."""
    store, cancelling, crashed, unknown = Store(tmp_path), uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    paths = [lock_of(store, run) for run in (cancelling, crashed, unknown)]
    server.runs = {cancelling: Cancelling(), crashed: Crashed()}
    server.tasks[crashed] = {"infer_cams": Running()}
    assert mark_lost_runs(store, youngest=0) == [cancelling]
    assert server.runs[cancelling].is_cancelled() and server.tasks[crashed]["infer_cams"].is_crashed()
    assert [path.exists() for path in paths] == [True, True, False]
