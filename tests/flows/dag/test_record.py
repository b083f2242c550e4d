"""Records of runs."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tag2mask.configs.load import load_config
from tag2mask.flows.dag import record as record_module
from tag2mask.flows.dag.record import (
    KEPT_RUNS,
    MOST_RUNS,
    DamagedRecord,
    RunRecord,
    TooMany,
    kept_labels,
    latest,
    records,
    write_failure_log,
    write_record,
)
from tag2mask.flows.engine.session import execute
from tag2mask.flows.init import packaged
from tag2mask.tasks.catalog import CATALOG
from tests.flows import toys
from tests.tasks.toy_catalog import toy_stage


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in toys.STAGES:
        monkeypatch.setitem(CATALOG, name, toy_stage(name))
    toys.install()


def run(
    tmp_path: Path, text: str = "join", name: str = "demo", *, whole: bool = True, **settings: dict[str, str]
) -> RunRecord:
    """Run the toy DAG and write its record and failure log."""
    nodes = toys.toy_dag(tmp_path, join={"text": text}, **settings)
    result = execute(toys.session(nodes, tmp_path / "store"))
    config = load_config(packaged("demo.yaml"), [f"name={name}"])
    record = write_record(tmp_path / "store", config, result, 0.0, whole=whole)
    write_failure_log(record, result)
    return record


def test_record_says_how_every_node_ended(tmp_path: Path) -> None:
    """Artifacts, recipes and states of all nodes are read back, with the settings."""
    run(tmp_path, right={"does": "fail"})
    record = latest(tmp_path / "store", "demo")
    assert record is not None
    assert record.content["state"] == "failed"
    assert record.content["config"]["mining"]["foreground"] == 0.3
    assert {name: entry["state"] for name, entry in record.nodes.items()} == {
        "left": "built",
        "left_child": "built",
        "right": "failed",
        "right_child": "not run",
        "join": "not run",
    }
    assert (tmp_path / "store" / record.labels["left"] / "result.txt").exists()
    assert record.nodes["left"]["recipe"]["config"]["text"] == "left"


def test_failure_log_holds_the_tracebacks(tmp_path: Path) -> None:
    """The full traceback of a failed stage lies beside the record."""
    record = run(tmp_path, right={"does": "fail"})
    log = record.path.with_suffix(".log").read_text()
    assert log.startswith("right: right cannot be done") and "Traceback (most recent call last)" in log


def test_newest_records_of_each_name_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest few of a name remain, and a run that repeats another's result takes its place, log and all."""
    monkeypatch.setattr(record_module, "MOST_RUNS", 3)
    for text in ("a", "b", "c", "d", "d", "d"):
        run(tmp_path, text)
    run(tmp_path, "a", name="other")
    found = records(tmp_path / "store", "demo")
    assert [record.nodes["join"]["recipe"]["config"]["text"] for record in found] == ["b", "c", "d"]
    assert len(records(tmp_path / "store")) == 4
    for _ in range(3):
        run(tmp_path, "f", name="failing", right={"does": "fail", "text": "new"})
    assert len(list((tmp_path / "store" / ".runs" / "failing").iterdir())) == 2  # the newest, and its log


def test_runs_that_fail_or_build_a_part_push_no_whole_run_out(tmp_path: Path) -> None:
    """Whatever many of them there are, what the newest whole runs have made stays, and stays on record."""
    made = run(tmp_path, "whole").labels["join"]
    failing = {"does": "fail", "text": "new"}
    failed = [run(tmp_path, right=failing, left={"text": str(number)}) for number in range(MOST_RUNS + 2)]
    partial = [run(tmp_path, f"part {number}", whole=False).labels["join"] for number in range(MOST_RUNS + 2)]
    assert [record.whole for record in records(tmp_path / "store", "demo")] == [True] + [False] * MOST_RUNS
    labels = kept_labels(tmp_path / "store", 2)
    assert made in labels and set(partial[-2:]) <= labels
    assert not set(partial[:-2]) & labels and failed[-1].labels["left"] not in labels


def test_as_many_runs_are_kept_as_are_asked_for(tmp_path: Path) -> None:
    """More than by default stay where that is asked for, and more than there are records of is refused."""
    made = [run(tmp_path, str(number)).labels["join"] for number in range(KEPT_RUNS + 2)]
    assert set(made) <= kept_labels(tmp_path / "store", len(made))
    assert set(made) & kept_labels(tmp_path / "store") == set(made[-KEPT_RUNS:])
    with pytest.raises(TooMany, match=f"keep: {MOST_RUNS + 1} runs .* only the newest {MOST_RUNS} are on record"):
        kept_labels(tmp_path / "store", MOST_RUNS + 1)


def test_kept_labels_are_those_of_the_newest_records(tmp_path: Path) -> None:
    """With fewer runs kept, fewer artifacts are; every name counts for itself."""
    made = {text: run(tmp_path, text).labels["join"] for text in ("a", "b")}
    made["z"] = run(tmp_path, "z", name="other").labels["join"]
    joins = set(made.values())
    assert kept_labels(tmp_path / "store", 2) & joins == joins
    assert kept_labels(tmp_path / "store", 1) & joins == {made["b"], made["z"]}


OTHER_SHAPES = ("{", "[]", "null", "3", '{"nodes": 3}', '{"nodes": {"left": []}, "seal": ""}', "\0\xff", "[" * 100_000)


@pytest.mark.parametrize("content", OTHER_SHAPES, ids=range(len(OTHER_SHAPES)))
def test_a_record_of_another_shape_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """It stands in nobody's way and is named once; the collector cannot tell what it needs, and refuses."""
    record = run(tmp_path)
    other = record.path.with_name("000009-20240101T000000.000000Z.json")
    other.write_text(content)
    for _ in range(2):
        assert [found.path for found in records(tmp_path / "store")] == [record.path]
    assert caplog.text.count(f"{other}: ") == 1
    with pytest.raises(DamagedRecord, match=rf"{other}: .*is not known: delete the file"):
        kept_labels(tmp_path / "store")
    assert run(tmp_path, "next").path.name.startswith("000010-")


def test_no_flipped_bit_of_a_record_is_taken_for_a_label(tmp_path: Path) -> None:
    """Whatever bit of a record turns over, nothing is collected because of it."""
    record = run(tmp_path)
    sound = record.path.read_bytes()
    for place in range(0, len(sound), 7):
        record.path.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << place % 8]) + sound[place + 1 :])
        with pytest.raises(DamagedRecord, match=str(record.path)):
            kept_labels(tmp_path / "store")


def test_a_clock_that_jumped_is_reported_and_loses_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are kept in the order in which they ended, although one of them ended in the future by its clock."""
    now, labels = time.time(), []
    jumps = (0.0, 10 * 365 * 86_400.0, 3600.0, 7200.0, 10_800.0)
    with monkeypatch.context() as patch:
        patch.setattr(record_module, "time", clock := SimpleNamespace(**vars(time)))
        for number, jump in enumerate(jumps):
            clock.time = lambda jump=jump: now + jump
            made = run(tmp_path, str(number))
            labels.append(made.labels["join"])
            reported = made.content["clock"]
            assert bool(reported) == (number in (2, 3, 4)) and ("it has jumped" in reported) == bool(reported)
    found = records(tmp_path / "store", "demo")
    assert [record.labels["join"] for record in found] == labels
    assert kept_labels(tmp_path / "store", 1) & set(labels) == {labels[-1]}
