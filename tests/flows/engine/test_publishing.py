"""From a run to its release, and the commands about releases."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tag2mask.configs.schema import Config
from tag2mask.flows.cli.main import app
from tag2mask.flows.cli.release_listing import find_release, label_set
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.outcome import Failure, Outcome, RunResult
from tag2mask.flows.dag.record import latest, write_record
from tag2mask.flows.engine.publishing import NothingToPublish, publish_finished, publish_run, weigh_measured
from tag2mask.flows.init import packaged
from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.release.gate import NoReason, judge
from tag2mask.tasks.release.releases import NoSuchRelease, Releases
from tag2mask.tasks.store.manifest import seal_of
from tag2mask.tasks.store.store import Store
from tests.flows.published_way import published as published_way
from tests.tasks.drawn_store import LABELS, OTHER, draft_of, evaluation_of, published

GATE = ("release.publish=true", "release.maximum_changed_images=null", "release.minimum_miou=null")


def config(*changes: str) -> Config:
    """The demo's settings in the published way, released by a gate that the drawn labels pass."""
    return published_way(*GATE, *changes)


def result(settings: Config, store: Store, labels: dict[str, np.ndarray]) -> RunResult:
    """How a run would end that made these labels."""
    draft, nodes = draft_of(store, labels, LABELS), {node.name: node for node in build_dag(settings)}
    assert draft.report is not None
    artifacts = {
        "index_dataset": draft.dataset,
        "mask_nonsalient-1": draft.labels,
        "measure_labels-1": draft.signals,
        "evaluate-labels_1": evaluation_of(store, 0.5),
        "render_report": draft.report,
    }
    return RunResult({name: Outcome(nodes[name], made, False, 0.0) for name, made in artifacts.items()})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two releases of `toy`."""
    made = Store(tmp_path / "store")
    published(made, draft_of(made, LABELS, LABELS))
    published(made, draft_of(made, OTHER, LABELS))
    return made


def reported(store: Store, *arguments: str, fails: bool = False) -> str:
    """Output of a command; of one that is to fail, its error."""
    ran = CliRunner().invoke(app, [*arguments, "--root", str(store.root)], env={"COLUMNS": "300"})
    assert (ran.exit_code != 0) == fails, ran.output
    return str(ran.exception) if fails else ran.output


def test_a_run_publishes_at_its_end_and_its_record_says_what_became(tmp_path: Path) -> None:
    """The manifest holds settings, recipes and the evaluation's figure, and the record holds the outcome."""
    settings, store = config(), Store(tmp_path)
    ended = result(settings, store, LABELS)
    write_record(store.root, settings, ended, 0.0)
    publication = publish_run(settings, store.root, ended)
    assert publication is not None and publication.release.title == "demo@1"
    manifest = publication.release.manifest
    assert manifest["artifacts"]["mask_nonsalient-1"]["recipe"]["stage"] == "mask_nonsalient"
    assert manifest["config"]["release"]["publish"] is True
    assert {s["signal"]: s["value"] for s in manifest["gate"]["signals"]}["miou"] == 0.5
    record = latest(store.root, "demo")
    assert record is not None
    noted = record.content["release"]
    assert (noted["state"], noted["title"], noted["failures"]) == ("released", "demo@1", [])
    assert (
        noted["summary"].startswith("released: demo@1 (") and "not measured: prediction_agreement" in noted["summary"]
    )


def test_a_candidate_is_in_the_record_with_what_failed(tmp_path: Path) -> None:
    """The run's listing tells the failed signals."""
    settings, store = config("release.minimum_miou=0.6"), Store(tmp_path)
    ended = result(settings, store, LABELS)
    write_record(store.root, settings, ended, 0.0)
    publish_run(settings, store.root, ended)
    record = latest(store.root, "demo")
    assert record is not None
    assert record.content["release"]["failures"] == ["miou 0.5 is below minimum_miou 0.6"]


def test_a_run_that_failed_or_made_no_labels_publishes_nothing(tmp_path: Path) -> None:
    """Neither a partial nor a failed run, nor one whose settings do not ask for it, reaches the gate."""
    settings, store = config(), Store(tmp_path)
    whole = result(settings, store, LABELS)
    node = whole.outcomes["render_report"].node
    partial = RunResult({"index_dataset": whole.outcomes["index_dataset"]})
    failed = RunResult(dict(whole.outcomes), {"render_report": Failure(node, "no ink")})
    quiet = published_way()
    assert publish_run(settings, store.root, partial) is None
    assert publish_run(settings, store.root, failed) is None
    assert publish_run(quiet, store.root, whole) is None
    assert not (store.root / "releases").exists()


def test_measured_labels_are_weighed_where_the_run_measured_them(tmp_path: Path) -> None:
    """A run that built the signals learns what the gate would say, also of the masks' figure; a cached one does not."""
    store, lenient = Store(tmp_path), config("release.publish=false")
    strict = config("release.publish=false", "release.minimum_miou=0.6")
    ended = result(lenient, store, LABELS)
    sound, poor = weigh_measured(lenient, store, ended), weigh_measured(strict, store, ended)
    assert sound is not None and sound.failures == []
    assert poor is not None and poor.failures == ["miou 0.5 is below minimum_miou 0.6"]
    cached = {name: replace(outcome, cached=True) for name, outcome in ended.outcomes.items()}
    assert weigh_measured(lenient, store, RunResult(cached)) is None
    assert weigh_measured(lenient, store, RunResult()) is None


def test_what_was_not_run_cannot_be_published(tmp_path: Path) -> None:
    """The message names the nodes that are missing and the command that makes them."""
    (tmp_path / "store").mkdir()
    with pytest.raises(
        NothingToPublish, match=r"mask_nonsalient-1, measure_labels-1, index_dataset of demo are not up"
    ):
        publish_finished(config(f"dataset.root={tmp_path}"), tmp_path / "store")


@pytest.mark.parametrize("reason", ["", "  "])
def test_the_gate_is_not_passed_without_a_reason(tmp_path: Path, reason: str) -> None:
    """An empty or blank reason is refused before anything is looked at, by the command and by the gate itself."""
    (tmp_path / "demo.yaml").write_text(packaged("demo.yaml").read_text())
    arguments = ["publish", str(tmp_path / "demo.yaml"), "--force-release", reason, "--root", str(tmp_path / "store")]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 1 and isinstance(ran.exception, NoReason) and "say why" in str(ran.exception)
    with pytest.raises(NoReason, match="is blank"):
        judge({}, config().release, forced=reason)


def test_a_release_without_a_reason_shows_in_the_listing(store: Store) -> None:
    """A set that was forced with an empty reason, before that was refused, is not said to have passed."""
    path = store.root / "releases" / "toy" / "2" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["gate"]["forced"] = ""
    path.write_text(json.dumps({**manifest, "seal": seal_of(manifest)}))
    assert "forced: no reason given" in reported(store, "releases", "toy")


def test_releases_are_listed_with_their_signals(store: Store) -> None:
    """The table marks the latest one, and a name's listing ends with the signals of its newest set."""
    text = reported(store, "releases", "toy")
    assert "toy@1" in text and "latest" in next(line for line in text.splitlines() if line.startswith("toy@2"))
    assert "1 of 6" in text and "signals of the newest, toy@2" in text and "prediction_agreement" in text
    assert "toy@2" in reported(store, "releases")
    assert "no release of 'joy'" in reported(store, "releases", "joy", fails=True)


def test_one_command_rolls_back(store: Store) -> None:
    """`latest NAME NUMBER` moves the pointer, `latest NAME` says where it is."""
    assert reported(store, "latest", "toy").startswith("toy@2 ")
    assert reported(store, "latest", "toy", "1") == "latest of toy: 2 → 1\n"
    assert Releases(store, "toy").latest() == 1
    assert "no release toy@9; toy has: 1, 2" in reported(store, "latest", "toy", "9", fails=True)


def test_diff_writes_page_and_tables(store: Store, tmp_path: Path) -> None:
    """Figures are printed, and the folder holds the page, the JSON and the tables."""
    out = tmp_path / "diff"
    text = reported(store, "diff", "toy@1", "2", "--out", str(out))
    assert "p01  50.0 %" in text and "1 of 6 images changed by more than 5 %, 1 in any pixel" in text
    assert json.loads((out / "comparison.json").read_text())["changed"] == 1
    assert (out / "images.csv").read_text().splitlines()[1].startswith("p01,changed,0.5,")
    assert (out / "classes.csv").exists() and (out / "comparison.html").read_text().count("<img") == 4


def test_diff_names_what_is_missing_or_in_the_way_before_it_compares(store: Store, tmp_path: Path) -> None:
    """A file where the folder would be made, a release's missing label map and its missing table are named."""
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"{tmp_path / 'file'} is a file" in reported(store, "diff", "toy@1", "2", "--out", str(out), fails=True)
    release = store.root / "releases" / "toy" / "1"
    (release / "labels" / "p00.png").unlink()
    text = reported(store, "diff", "toy@1", "toy@2", "--out", str(tmp_path / "diff"), fails=True)
    assert text.startswith("toy@1: ") and "labels/p00.png is missing; `tag2mask verify`" in text
    (release / "images.csv").unlink()
    assert "toy/1/images.csv is missing" in reported(store, "diff", "toy@1", "toy@2", fails=True)
    assert not (tmp_path / "diff").exists()


def test_label_sets_are_found_by_every_way_to_name_them(store: Store, tmp_path: Path) -> None:
    """Releases, `latest`, bare numbers, artifacts and folders."""
    label = draft_of(store, LABELS).labels.label
    write_labels(tmp_path / "mine" / "p00.png", LABELS["p00"])
    assert label_set(store, "toy@latest").title == label_set(store, "2").title == "toy@2"
    assert label_set(store, "latest", "toy@1").title == "toy@2"
    assert label_set(store, label).title == label
    assert list(label_set(store, str(tmp_path / "mine")).files) == ["p00"]
    assert find_release(store, "toy").number == 2 and find_release(store, "1").number == 1


def test_bare_numbers_take_a_name_from_a_release_alone(store: Store, tmp_path: Path) -> None:
    """Two numbers, or `latest` and a number, are of the one name in the store; a folder lends no name."""
    folder = tmp_path / "me@here"
    write_labels(folder / "p00.png", LABELS["p00"])
    sets = [label_set(store, *texts).title for texts in (("1", "2"), ("latest", "2"), ("1", str(folder)))]
    assert sets == ["toy@1", "toy@2", "toy@1"]
    assert "toy-1-toy-2" in reported(store, "diff", "1", "2", "--out", str(tmp_path / "toy-1-toy-2"))
    assert json.loads((tmp_path / "toy-1-toy-2" / "comparison.json").read_text())["changed"] == 1
    with pytest.raises(NoSuchRelease, match="no release 2@1; 2 has: none"):
        find_release(store, "2@1")


def test_a_folder_comes_before_a_release(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with `@` that exists is a folder of labels, even if a release has that name."""
    monkeypatch.chdir(tmp_path)
    write_labels(tmp_path / "toy@1" / "p00.png", LABELS["p00"])
    for text in ("toy@1", str(tmp_path / "toy@1")):
        assert list(label_set(store, text, "2").files) == ["p00"]
    assert label_set(store, "toy@2", "1").title == "toy@2"


@pytest.mark.parametrize(
    ("text", "message"),
    [("toy@x", "after @ stands a number"), ("joy@1", "no release joy@1; joy has: none"), ("toy@9", "toy has: 1, 2")],
)
def test_a_wrong_name_is_answered_with_the_right_ones(store: Store, text: str, message: str) -> None:
    """The message says what there is."""
    with pytest.raises(NoSuchRelease, match=message):
        find_release(store, text)


def test_export_says_what_it_wrote(store: Store, tmp_path: Path) -> None:
    """The command takes a name, a folder and a format."""
    text = reported(store, "export", "toy", "--out", str(tmp_path / "out"), "--format", "plain")
    assert text.startswith("toy@2: 6 images written to ") and (tmp_path / "out" / "index.csv").exists()


def test_verify_reads_releases_again(store: Store) -> None:
    """A damaged release is named, and the exit code says so."""
    path = store.root / "releases" / "toy" / "1" / "labels" / "p00.png"
    assert "0 damaged" in reported(store, "verify")
    path.write_bytes(b"x")
    ran = CliRunner().invoke(app, ["verify", "--root", str(store.root)], env={"COLUMNS": "300"})
    assert ran.exit_code == 1
    assert "releases/toy/1: labels/p00.png has other bytes" in ran.output and "1 releases are damaged" in ran.output
