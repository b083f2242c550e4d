"""What `plan` says, against what a run does."""

from dataclasses import replace
from pathlib import Path

import pytest

from tag2mask.configs.load import load_config
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.planning import PlanRow, plan, settings_changes
from tag2mask.flows.dag.record import RunRecord, write_record
from tag2mask.flows.engine.session import execute
from tag2mask.flows.init import packaged
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.store.store import Store
from tests.flows import toys
from tests.tasks.toy_catalog import toy_stage


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in toys.STAGES:
        monkeypatch.setitem(CATALOG, name, toy_stage(name))
    toys.install()


def built(tmp_path: Path, **settings: dict[str, str]) -> RunRecord:
    """The record of a run of the toy DAG."""
    result = execute(toys.session(toys.toy_dag(tmp_path, **settings), tmp_path / "store"))
    return write_record(tmp_path / "store", load_config(packaged("demo.yaml")), result, 0.0)


def planned(tmp_path: Path, nodes: tuple[Node, ...], record: RunRecord | None, **given: object) -> dict[str, PlanRow]:
    """Node -> its row."""
    return {row.node.name: row for row in plan(nodes, Store(tmp_path / "store"), record, **given)}  # type: ignore[arg-type]


def contents_below(root: Path) -> dict[Path, bytes]:
    """All files of a store and their bytes, but for what it remembers of digests."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".digests" not in path.name}


def test_nothing_was_ever_built(tmp_path: Path) -> None:
    """In an empty store, stages on raw files would run and the others wait."""
    rows = planned(tmp_path, toys.toy_dag(tmp_path), None)
    assert {name: row.state for name, row in rows.items()} == {
        "left": "run",
        "right": "run",
        "left_child": "waits",
        "right_child": "waits",
        "join": "waits",
    }
    assert rows["left"].reason == "never built"
    assert rows["join"].reason == "waits for left_child, right_child"


def test_a_check_is_no_input(tmp_path: Path) -> None:
    """What a node begins after, without reading it, is told apart from what it reads."""
    *others, join = toys.toy_dag(tmp_path)
    rows = planned(tmp_path, [*others, replace(join, after=("left",))], None)
    assert rows["join"].reason == "waits for left_child, right_child; begins after left"


def test_plan_runs_and_changes_nothing(tmp_path: Path) -> None:
    """Planning leaves the store as it is, damaged artifacts included."""
    record = built(tmp_path)
    broken = next((tmp_path / "store" / "toy_join").glob("*/result.txt"))
    broken.write_text("x")
    before = contents_below(tmp_path / "store")
    rows = planned(tmp_path, toys.toy_dag(tmp_path), record)
    assert "damaged" in {row.state for row in rows.values()}
    assert before == contents_below(tmp_path / "store")
    assert len(toys.times_run(tmp_path)) == 5


def test_everything_is_cached_after_a_run(tmp_path: Path) -> None:
    """After a run every row is cached and names its artifact."""
    record = built(tmp_path)
    rows = planned(tmp_path, toys.toy_dag(tmp_path), record)
    assert {row.state for row in rows.values()} == {"cached"}
    assert {name: row.reason for name, row in rows.items()} == record.labels


def test_reasons_name_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed setting, version or file is named; what reads it waits."""
    record = built(tmp_path)
    changed = toys.toy_dag(tmp_path, left={"text": "new"})
    (tmp_path / "right.txt").write_text("moved")
    rows = planned(tmp_path, changed, record)
    assert (rows["left"].state, rows["left"].reason) == ("run", "toy_read.text: left → new")
    assert rows["right"].reason == "toy_read.file has other content"
    assert rows["left_child"].reason == "waits for left"
    monkeypatch.setitem(CATALOG, "toy_join", toy_stage("toy_join", 2))
    rows = planned(tmp_path, toys.toy_dag(tmp_path, left_child={"text": "other"}), record)
    assert rows["left_child"].reason == "version 1 → 2; toy_join.text: left_child → other"
    assert rows["join"].reason == "version 1 → 2; waits for left_child, right_child"


def test_changed_input_is_named_with_its_node(tmp_path: Path) -> None:
    """Where only what a node reads has changed, the input and its node are named."""
    built(tmp_path)
    record = built(tmp_path, left={"text": "other"})
    rows = planned(tmp_path, toys.toy_dag(tmp_path), record)
    assert rows["left"].state == "cached"
    assert rows["left_child"].state == "cached"
    third = built(tmp_path, left={"text": "third"})
    row = planned(tmp_path, toys.toy_dag(tmp_path, left_child={"batch_size": "9"}), third)["left_child"]
    assert row.reason == "toy_join.batch_size: 8 → 9; parent (left) has other content"


def test_force_missing_and_removed_are_reported(tmp_path: Path) -> None:
    """Forced stages, missing files and artifacts that were removed each have their reason."""
    record = built(tmp_path)
    nodes = toys.toy_dag(tmp_path)
    assert planned(tmp_path, nodes, record, force={"left"})["left"].state == "forced"
    label = record.labels["left"]
    Store(tmp_path / "store").set_aside(*label.split("/"))
    assert planned(tmp_path, nodes, record)["left"].reason == f"{label} was removed from the store"
    (tmp_path / "right.txt").unlink()
    row = planned(tmp_path, nodes, record)["right"]
    assert (row.state, row.reason) == ("missing", f"toy_read.file: {tmp_path / 'right.txt'} does not exist")
    within = tmp_path / "left.txt" / "right.txt"
    moved = tuple(replace(node, inputs={"file": within}) if node.name == "right" else node for node in nodes)
    row = planned(tmp_path, moved, record)["right"]
    assert row.reason == f"toy_read.file: {within.parent} is a file, where a folder is wanted"


def test_a_forced_node_is_forced_whatever_it_waits_for(tmp_path: Path) -> None:
    """Forced, a node is told as that where its inputs must be made first, and where an older model is kept."""
    record, nodes = built(tmp_path), toys.toy_dag(tmp_path, left={"text": "new"})
    rows = planned(tmp_path, nodes, record, force={"left_child"})
    assert (rows["left"].state, rows["left_child"].state) == ("run", "forced")
    kept = {"left_child": Store(tmp_path / "store").artifacts("toy_join")[0]}
    assert planned(tmp_path, nodes, record, force={"left_child"}, kept=kept)["left_child"].state == "forced"
    assert planned(tmp_path, nodes, record, kept=kept)["left_child"].state == "kept"


def test_what_the_last_run_did_not_come_to_was_not_never_built(tmp_path: Path) -> None:
    """After a partial run a stage that an earlier run has built is told as one that the last run left out."""
    built(tmp_path)
    part = execute(toys.session(toys.toy_dag(tmp_path)[:1], tmp_path / "store"))
    record = write_record(tmp_path / "store", load_config(packaged("demo.yaml")), part, 0.0)
    rows = planned(tmp_path, toys.toy_dag(tmp_path, right={"text": "new"}), record)
    assert rows["right"].reason == "the last run did not come to it"


def test_plan_says_what_a_run_then_does(tmp_path: Path) -> None:
    """What is planned as cached is a hit, and what is planned to run is built."""
    record = built(tmp_path)
    changed = toys.toy_dag(tmp_path, right_child={"text": "new"})
    rows = planned(tmp_path, changed, record)
    states = toys.states(execute(toys.session(changed, tmp_path / "store")))
    for name, row in rows.items():
        if row.state != "waits":
            assert (row.state == "cached") == (states[name] == "cached"), name


def test_settings_changes_descend_and_ignore_the_kind_of_sequence() -> None:
    """Nested values are named in full; a tuple equals the list that JSON made of it."""
    old = {"backbone": {"name": "vgg16", "stride": 8}, "scales": [1.0, 0.5], "gone": 1}
    new = {"backbone": {"name": "resnet18", "stride": 8}, "scales": (1.0, 0.5), "fresh": 2}
    assert settings_changes("s", old, new) == [
        "s.backbone.name: vgg16 → resnet18",
        "s.gone: 1 → absent",
        "s.fresh: absent → 2",
    ]
