"""Runs whose process is gone are told from those that live by their lock."""

import os
import time
import uuid
from contextlib import nullcontext
from pathlib import Path

import pytest

from tag2mask.flows import lost_runs
from tag2mask.flows.lost_runs import mark_alive, mark_lost_runs
from tag2mask.tasks.common.store import Store


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """Ids of the runs that were looked up on the server, which knows none of them to have ended."""
    seen: list[uuid.UUID] = []
    monkeypatch.setattr(lost_runs, "_mark", lambda client, run: seen.append(run) or True)
    monkeypatch.setattr(lost_runs, "get_client", lambda sync_client: nullcontext())
    return seen


def lock_of(store: Store, run: uuid.UUID, age: float) -> Path:
    """The lock that a run's process left behind some seconds ago."""
    path = store.root / ".locks" / f"flow-{run}.lock"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_only_old_locks_that_nobody_holds_are_lost_runs(tmp_path: Path, marked: list[uuid.UUID]) -> None:
    """A lock that is held, or so young that its run may be about to take it, is left alone; another's run is lost."""
    store, dead, young, alive = Store(tmp_path), uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    path = lock_of(store, dead, 60)
    kept = lock_of(store, young, 1)
    held = lock_of(store, alive, 60)
    mark_alive(store, alive)
    assert mark_lost_runs(store) == marked == [dead]
    assert not path.exists() and kept.exists() and held.exists()
