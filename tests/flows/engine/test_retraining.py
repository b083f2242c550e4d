"""Models kept from run to run: what stands in for what, and what is said of it."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tag2mask.configs.load import load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.flows.dag.errors import UnknownNode
from tag2mask.flows.dag.outcome import RunResult
from tag2mask.flows.dag.planning import plan
from tag2mask.flows.dag.record import RunRecord, latest
from tag2mask.flows.engine import publishing, retraining, running
from tag2mask.flows.engine import session as execution
from tag2mask.flows.engine.child import run_here
from tag2mask.flows.engine.console import LogListener
from tag2mask.flows.engine.garbage import collect
from tag2mask.flows.engine.retraining import Retrain, images_summary, kept_models
from tag2mask.flows.engine.running import Selection, run_config
from tag2mask.flows.init import packaged
from tag2mask.tasks.building.maintenance import StoreInUse
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.store.parts import PARTS, Part
from tag2mask.tasks.store.store import Artifact, Store
from tests.flows import toys
from tests.tasks.toy_catalog import toy_stage

Run = Callable[..., RunResult]


def model_dag(folder: Path, text: str = "model") -> tuple[toys.Node, ...]:
    """File ──► model (a training) ──► maps, which also read the file."""
    log = str(folder / "log.txt")
    return (
        toys.toy("model", "train_toy", {"file": folder / "data.txt"}, log=log, text=text),
        toys.toy("maps", "toy_join", {"model": "model", "file": folder / "data.txt"}, log=log),
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of the DAG above on some data."""
    for name in toys.STAGES:
        monkeypatch.setitem(CATALOG, name, toy_stage(name, trains=name.startswith("train_")))
    toys.install()
    monkeypatch.setattr(execution, "run_in_child", run_here)

    def run(data: str, retrain: Retrain = "when_changed", text: str = "model") -> RunResult:
        (tmp_path / "data.txt").write_text(data)
        monkeypatch.setattr(running, "build_dag", lambda config: model_dag(tmp_path, text))
        config, runtime = load_config(packaged("demo.yaml")), Runtime(root=tmp_path / "store", cores=2)
        return run_config(config, runtime, Selection(retrain=retrain), execution.execute)

    return run


def test_a_kept_model_serves_new_data(run: Run, tmp_path: Path) -> None:
    """With `never`, changed data is read by the model of the last run, and record, state and note say so."""
    old = run("old").outcomes["model"].artifact.label
    result = run("new", "never")
    assert result.outcomes["model"].kept and result.outcomes["model"].artifact.label == old
    assert "train_toy.file has other content" in result.outcomes["model"].note
    assert not result.outcomes["maps"].cached
    record = latest(tmp_path / "store", "demo")
    assert record is not None and record.nodes["model"]["state"] == "kept" and record.labels["model"] == old
    again = run("new", "never")
    assert again.outcomes["model"].kept and again.outcomes["maps"].cached


def test_a_form_keeps_the_models_of_what_its_stage_needs_alone(run: Run, tmp_path: Path) -> None:
    """With `never` an older model stands in for the training that a stage needs, and not for the stage itself."""
    run("old")
    (tmp_path / "data.txt").write_text("new")
    nodes, store = model_dag(tmp_path), Store(tmp_path / "store")
    for since, kept in (("maps", {"model"}), ("model", set()), (None, set())):
        selection = Selection(since=since, retrain="never", keeps_within=False)
        assert selection.kept(nodes, store, "demo").keys() == kept
    assert Selection(since="model", retrain="never").kept(nodes, store, "demo").keys() == {"model"}


def test_what_a_kept_model_has_made_counts_as_finished(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a run with `never` its results are up to date for who publishes them, and after new data they are not."""
    run("old")
    made = run("new", "never").outcomes["maps"].artifact
    monkeypatch.setattr(publishing, "build_dag", lambda config: model_dag(tmp_path))
    config, store = load_config(packaged("demo.yaml")), Store(tmp_path / "store")
    assert publishing.finished(config, store, ["maps"])["maps"].label == made.label
    (tmp_path / "data.txt").write_text("newer")
    with pytest.raises(publishing.NothingToPublish, match="maps of demo is not up to date"):
        publishing.finished(config, store, ["maps"])


def test_a_stage_outside_of_those_asked_for_is_not_forced(run: Run, tmp_path: Path) -> None:
    """Naming one is refused before anything is built; `always` trains what may be built and leaves the rest."""
    old = run("old").outcomes["model"].artifact
    nodes = model_dag(tmp_path)
    with pytest.raises(UnknownNode, match="--force model: outside of the stages asked for"):
        Selection(only="maps", force=["model"]).forced(nodes)
    assert Selection(only="maps", retrain="always").forced(nodes) == set()
    assert Selection(retrain="always").forced(nodes) == {"model"}
    with pytest.raises(UnknownNode, match="--only model and --from maps have no stage in common"):
        Selection(only="model", since="maps").allowed(nodes)
    assert run("old", "never").outcomes["model"].artifact.label == old.label


def test_nothing_is_collected_before_a_record_names_what_was_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first stage to its record a run keeps garbage collection away."""
    tried: list[bool] = []
    write = running.write_record

    def slow(*given: Any, **more: Any) -> RunRecord:
        with pytest.raises(StoreInUse):
            collect(Store(tmp_path / "store"))
        tried.append(True)
        return write(*given, **more)

    monkeypatch.setattr(running, "write_record", slow)
    run("old")
    assert tried and collect(Store(tmp_path / "store")) == []


def test_the_first_run_trains_although_it_should_never(run: Run) -> None:
    """Without a recorded model there is nothing to keep."""
    assert not run("old", "never").outcomes["model"].cached


def test_by_default_changed_data_trains_anew(run: Run) -> None:
    """With `when_changed`, the training is cached until its data changes."""
    run("old")
    assert run("old").outcomes["model"].cached
    assert not run("new").outcomes["model"].cached


def test_always_trains_anew(run: Run) -> None:
    """With `always`, the training is done again, and what follows is cached where the bytes are the same."""
    run("old")
    result = run("old", "always")
    assert not result.outcomes["model"].cached and result.outcomes["maps"].cached


def test_settings_that_are_not_heeded_are_reported(run: Run) -> None:
    """A kept model was trained with other settings, and the note says with which."""
    run("old")
    assert "train_toy.text: model → other" in run("old", "never", "other").outcomes["model"].note


def test_kept_models_are_told_at_the_end(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing but models is kept, the run does not say that all is up to date; and names each that is."""
    run("old")
    config = load_config(packaged("demo.yaml"))
    result = run("old", "never", "other")
    running.conclude(config, tmp_path / "store", result)
    assert "nothing to do: 1 trained models were kept although settings or data have changed" in capsys.readouterr().out
    console = Console(file=StringIO(), width=200)
    LogListener(console).finished(result.outcomes["model"])
    assert "train_toy.text: model → other" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_plan_says_what_would_be_kept(run: Run, tmp_path: Path) -> None:
    """The plan has a kept model as such, and what reads it as what would run."""
    run("old")
    (tmp_path / "data.txt").write_text("new")
    store, nodes = Store(tmp_path / "store"), model_dag(tmp_path)
    rows = plan(nodes, store, latest(store.root, "demo"), kept=kept_models(nodes, store, "demo"))
    assert [row.state for row in rows] == ["kept", "run"]
    assert "retrain: never" in rows[0].reason


def index_of(folder: Path, items: dict[str, str]) -> Artifact:
    """An index that holds nothing but the digests of its images."""
    folder.mkdir()
    (folder / PARTS).write_bytes(b"".join(Part(image_id, {}, item=item).line() for image_id, item in items.items()))
    return Artifact(folder, {"images": len(items)})


@pytest.mark.parametrize(
    ("old", "reported"),
    [
        (None, "3 images"),
        ({"a": "1", "b": "1", "c": "1"}, "3 images, none new, changed or removed since the last run"),
        ({"a": "1", "b": "0", "d": "1"}, "3 images: 1 new, 1 changed, 1 removed since the last run"),
    ],
)
def test_images_are_counted(
    old: dict[str, str] | None, reported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New, changed and removed images are reported from the digests of two indexes."""
    now, before = index_of(tmp_path / "now", {"a": "1", "b": "1", "c": "1"}), index_of(tmp_path / "old", old or {})
    monkeypatch.setattr(retraining, "_sound", lambda store, label: before if old else None)
    record = RunRecord(tmp_path, {"nodes": {}})
    assert images_summary(tmp_path / "store", now, record) == reported
