"""Collecting garbage on a schedule, and what is said of a store beforehand."""

from pathlib import Path

import pytest

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.flows import garbage_collection
from tag2mask.flows.dag.record import TooMany, write_record
from tag2mask.flows.deployments import Collection, collection_of
from tag2mask.flows.engine.garbage import holdings_line
from tag2mask.flows.engine.session import execute
from tag2mask.flows.garbage_collection import collect_garbage
from tag2mask.flows.init import packaged
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.store.store import Store
from tests.flows import toys
from tests.tasks.toy_catalog import toy_stage


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Four runs of the toy DAG that differ in its last node: eight results, seven needed by the last three."""
    for name in toys.STAGES:
        monkeypatch.setitem(CATALOG, name, toy_stage(name))
    toys.install()
    for text in "abcd":
        result = execute(toys.session(toys.toy_dag(tmp_path, join={"text": text}), tmp_path / "store"))
        write_record(tmp_path / "store", load_config(packaged("demo.yaml")), result, 0.0)
    return Store(tmp_path / "store")


def test_what_a_store_holds_is_reported(store: Store, tmp_path: Path) -> None:
    """The line counts the artifacts and those that no kept run needs, and an empty store has none."""
    assert holdings_line(store.root) == (
        "the store holds 8 artifacts, 0.0 MB (files that artifacts share counted in each); no kept run "
        "needs 1 of them: `tag2mask gc`"
    )
    next((store.root / ".runs").rglob("*.json")).write_text("{}")  # what it needs is unknown
    assert holdings_line(store.root).endswith("counted in each)")
    assert holdings_line(tmp_path / "none") == ""


def test_the_scheduled_collection_deletes_what_no_kept_run_needs(store: Store) -> None:
    """It says what went, and the next one finds nothing."""
    assert collect_garbage.fn(store.root, 2).message.startswith("deleted 2 items")
    assert len(store.artifacts()) == 6
    assert collect_garbage.fn(store.root, 2).message.startswith("deleted 0 items")


def test_the_scheduled_collection_waits_for_runs_and_fails_in_a_line(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a run is at work it tries again; what is wrong for good is the state's message."""
    pauses: list[float] = []
    monkeypatch.setattr(garbage_collection.time, "sleep", pauses.append)
    with store.lock("run", shared=True):
        state = collect_garbage.fn(store.root, 1)
    assert state.is_failed() and "a run is at work" in state.message and len(pauses) == garbage_collection.TRIES - 1
    assert "does not exist" in collect_garbage.fn(tmp_path / "none").message
    assert "keep: 99 runs of a name cannot be kept" in collect_garbage.fn(store.root, 99).message
    with pytest.raises(TooMany, match="keep: 99 runs"):
        Collection(None, keep=99)
    next((store.root / ".runs").rglob("*.json")).write_text("{}")
    assert "is no record of a run" in collect_garbage.fn(store.root).message and len(store.artifacts()) == 8


def test_a_wrong_schedule_of_the_collection_is_refused(tmp_path: Path) -> None:
    """The cron line is checked when `serve` starts, and the deployment has store and number of runs."""
    made = collection_of(tmp_path, Collection("0 12 * * *", "Europe/Berlin", 5), "store")
    assert (made.flow_name, made.name) == ("collect_garbage", "store")
    assert made.parameters == {"root": str(tmp_path), "keep": 5} and len(made.schedules or ()) == 1
    with pytest.raises(ConfigError, match="--gc 'at noon'"):
        collection_of(tmp_path, Collection("at noon"), "store")
