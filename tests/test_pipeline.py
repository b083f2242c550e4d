"""The whole method on a small drawn dataset: every stage real, each in a process of its own."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tag2mask.configs.load import load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.configs.schema import Evaluation
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.node import select
from tag2mask.flows.engine.session import Session, execute
from tag2mask.flows.init import Sources, write_settings
from tag2mask.tasks import evaluate
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.dataset.ground_truth import GroundTruthLeak
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.demo.scenes import CLASSES, write_demo
from tag2mask.tasks.exports.submission import PLACE, write_submission
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store
from tests.finished_run import AFTER_MINING, CERTAIN_TO_CHANGE, WHERE_ASKED_FOR, Finished, built, dag, run
from tests.flows.toys import Ledger, states
from tests.small_run import SCENES, SMALL, SmallRun
from tests.tasks.drawn_files import files_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def finished(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A copy of the small run, with what is found of it."""
    run_of_all = small_run.copied(tmp_path_factory.mktemp("pipeline") / "run")
    return Finished(run_of_all.folder, run(dag(run_of_all.data), run_of_all.root), run_of_all.said)


def test_settings_without_masks_run(tmp_path: Path) -> None:
    """What `init` writes for drawn images with tags alone runs until saliency maps are learned, as the file offers."""
    write_demo(tmp_path / "data", **SCENES)
    shutil.rmtree(tmp_path / "data/saliency")
    write_settings(Sources(tmp_path / "data/images"), tmp_path / "mine.yaml")
    lenient = (
        "self_training.cam_foreground=0.05",
        "self_training.minimum_foreground=0",
        "self_training.cam_background=0",
    )
    learned = ("saliency.provider=reciprocal", "saliency.targets=prior", "saliency.iterations=4")
    config = load_config(tmp_path / "mine.yaml", [*SMALL, *lenient, *learned])
    result = run(select(build_dag(config), until="predict_saliency"), tmp_path / "store")
    assert not result.failures, [f"{name}: {failure.message}" for name, failure in result.failures.items()]
    maps = result.outcomes["predict_saliency-1"].artifact.path
    assert len(list((maps / "saliency").glob("*.png"))) == result.outcomes["index_dataset"].artifact.images - 4
    assert read_json(maps / "provenance.json")["masks"] == "none: tags and a prior alone"


def test_every_stage_leaves_an_artifact(finished: Finished) -> None:
    """A run of the released settings, made small, builds every node, and every stage occurs among them."""
    nodes = dag(finished.folder / "data")
    assert {line.split()[0] for line in finished.said.splitlines() if " built " in line} == {n.name for n in nodes}
    assert {node.stage for node in nodes} == set(CATALOG) - WHERE_ASKED_FOR
    for name in finished.result.outcomes:
        assert files_of(finished.artifact(name)).keys() > {"manifest.json"}, name


@pytest.mark.parametrize(
    ("node", "folder", "split", "ignores"),
    [
        ("mine_objects", "", "train", True),
        ("predict_masks-1", "labels", "train", False),
        ("refine_masks-1", "", "train", False),
        ("mask_nonsalient-1", "", "train", True),
        ("predict_masks-2-val", "labels", "val", False),
        ("refine_masks-2-val", "", "val", False),
    ],
)
def test_label_maps_fit_their_images(finished: Finished, node: str, folder: str, split: str, ignores: bool) -> None:
    """Each image of the split has one label map of its size, of class numbers and, where labels are made, 255."""
    allowed = {*range(len(CLASSES) + 1), *([255] if ignores else [])}
    place = finished.artifact(node) / folder
    index = ImageIndex.read(finished.artifact("index_dataset")).split(split)
    assert len(index) > 0 and {path.stem for path in place.glob("*.png")} == set(index.ids)
    for record in index:
        labels = read_labels(place / f"{record.image_id}.png")
        assert labels.dtype == np.uint8 and labels.shape == record.size
        assert set(np.unique(labels).tolist()) <= allowed


def test_mined_labels_are_among_the_tags(finished: Finished) -> None:
    """Mining finds objects, and gives an image no class that it is not tagged with."""
    found: set[int] = set()
    for record in ImageIndex.read(finished.artifact("index_dataset")).split("train"):
        labels = read_labels(finished.artifact("mine_objects") / f"{record.image_id}.png")
        assert set(np.unique(labels).tolist()) <= {0, 255, *record.tags}
        found |= set(np.unique(labels).tolist())
    assert {0, 255} < found  # or the tests below would compare nothing


def test_second_run_builds_nothing(finished: Finished) -> None:
    """The same run again, in another place, finds every artifact."""
    assert set(states(finished.result).values()) == {"cached"}


def test_another_store_gets_the_same_bytes(finished: Finished) -> None:
    """The same settings from nothing in another store give the same trained networks and byte-identical labels."""
    other = run(dag(finished.folder / "data"), finished.folder / "other")
    assert built(other) == set(finished.result.outcomes)
    first = {name: outcome.artifact.digest for name, outcome in finished.result.outcomes.items()}
    second = {name: outcome.artifact.digest for name, outcome in other.outcomes.items()}
    stated_times = {"render_report"}  # the page says how long the stages took
    assert {name for name in first if first[name] != second[name]} <= stated_times
    for name in ("mine_objects", "mask_nonsalient-1"):
        theirs = files_of(other.outcomes[name].artifact.path)
        ours = files_of(finished.artifact(name))
        assert {n: data for n, data in ours.items() if n.endswith(".png")} == {
            n: data for n, data in theirs.items() if n.endswith(".png")
        }


def test_a_mining_threshold_rebuilds_what_follows(finished: Finished) -> None:
    """A changed `mining.foreground` rebuilds the labels and what is made of them, and nothing before or beside them."""
    nodes = dag(finished.folder / "data", "mining.foreground=0.6")
    assert {node.name for node in select(nodes, since="mine_objects")} == AFTER_MINING
    changed = run(nodes, finished.root)
    assert not changed.failures
    digests = [r.outcomes["mine_objects"].artifact.digest for r in (finished.result, changed)]
    assert digests[0] != digests[1]
    assert CERTAIN_TO_CHANGE <= built(changed) <= AFTER_MINING


def test_added_images_cost_their_own_inference_alone(finished: Finished) -> None:
    """With the saliency network unchanged, only the two new images are predicted; the others are taken over."""
    data = finished.folder / "more"
    write_demo(data, **{**SCENES, "scenes": 16})
    nodes = select(dag(data), until="predict_saliency")
    result = run(nodes, finished.root)
    assert not result.failures
    assert {"train_saliency", "index_saliency_set"}.isdisjoint(built(result))
    artifact = result.outcomes["predict_saliency"].artifact
    assert artifact.manifest["reused_images"] == 10 and artifact.images == 12
    before, after = files_of(finished.artifact("predict_saliency")), files_of(artifact.path)
    pictures = {name for name in before if name.endswith(".png")}
    assert len(pictures) == 20 and all(before[name] == after[name] for name in pictures)
    assert {name for name in after if name.endswith(".png")} - pictures == {
        f"{kind}/scene_{number:04d}.png" for kind in ("saliency", "background") for number in (11, 12)
    }


def test_a_test_split_costs_its_prediction_alone(finished: Finished, tmp_path: Path) -> None:
    """Images without tags and masks are predicted by the last segmenter, train nothing, and are exported."""
    data = tmp_path / "data"
    shutil.copytree(finished.folder / "data", data)
    shutil.copyfile(finished.folder / "small.yaml", tmp_path / "small.yaml")
    for source, image_id in zip(sorted((data / "images").iterdir()), ("test_a", "test_b"), strict=False):
        shutil.copyfile(source, data / "images" / f"{image_id}.jpg")
    (data / "test.txt").write_text("test_b\ntest_a\n")
    result = run(dag(data, "dataset.test_split=test.txt"), finished.root)
    assert not result.failures
    assert built(result) == {"index_dataset", "index_test", "predict_masks-2-test", "refine_masks-2-test"}
    index, labels = (result.outcomes[name].artifact.path for name in ("index_test", "refine_masks-2-test"))
    assert write_submission(index, labels, tmp_path / "out") == 2
    written = files_of(tmp_path / "out")
    assert set(written) == {f"{PLACE.as_posix()}/{image_id}.png" for image_id in ("test_a", "test_b")}


def test_kept_models_label_new_images(finished: Finished) -> None:
    """With the models of the run before kept, two new images cost their own inference and no training."""
    data = finished.folder / "kept"
    write_demo(data, **{**SCENES, "scenes": 16})
    nodes = select(dag(data), until="refine_masks-1")
    kept = {n.name: finished.result.outcomes[n.name].artifact for n in nodes if n.trains}
    runtime = Runtime(root=finished.root, device="cpu", precision="float32", cores=2)
    result = execute(Session(nodes, Store(finished.root), runtime, Ledger(), kept=kept))
    assert not result.failures
    assert {name for name, o in result.outcomes.items() if o.kept} == kept.keys() - {"train_saliency"}
    assert not {name for name in built(result) if name.startswith("train_")}
    for name in ("infer_cams", "infer_attention", "mine_objects", "predict_masks-1", "refine_masks-1"):
        artifact = result.outcomes[name].artifact
        assert artifact.manifest["reused_images"] == 10 and artifact.images == 12, name
    model = result.outcomes["train_classifier"]
    assert model.artifact.label in model.note and "dataset (index_dataset) has other content" in model.note


def test_the_report_needs_nothing_but_itself(finished: Finished) -> None:
    """The page holds its pictures and styles, and refers to nothing outside of itself."""
    pages = list(finished.artifact("render_report").glob("*.html"))
    assert len(pages) == 1
    page = pages[0].read_text(encoding="utf-8")
    targets = re.findall(r"""(?:src|href|srcset|action|poster)\s*=\s*["']?([^"'\s>]*)""", page)
    targets += re.findall(r"""url\(\s*["']?([^"')]*)""", page)
    assert any(target.startswith("data:image/") for target in targets)
    assert [target[:60] for target in targets if not target.startswith(("data:", "#"))] == []
    assert "@import" not in page and "<link" not in page


def test_labels_that_are_the_masks_are_refused(finished: Finished, tmp_path: Path) -> None:
    """Evaluating the ground truth as training labels ends with an error that says so."""
    arguments = {"kind": "training_labels", "split": "train", "title": "leak"}
    masks = finished.artifact("index_masks")
    given = {"dataset": finished.artifact("index_dataset"), "masks": masks, "subject": masks / "masks"}
    with pytest.raises(GroundTruthLeak, match="10 of 10"):
        evaluate.run(Evaluation(), tmp_path, StageRuntime(), **arguments, **given)
    assert not (tmp_path / "scores.json").exists()


def test_no_segmenter_is_trained_on_the_masks(finished: Finished) -> None:
    """Where the labels turn out to be the masks, the guard fails the run before the segmenter is looked at."""
    masks = finished.folder / "data" / "masks"
    leaky = tuple(
        replace(node, inputs={**node.inputs, "subject": masks}) if node.name == "evaluate-labels_0" else node
        for node in select(dag(finished.folder / "data"), until="train_segmenter-1")
    )
    ends = states(run(leaky, finished.root))
    assert ends["evaluate-labels_0"] == "failed" and ends["train_segmenter-1"] == "not run"
    assert {state for name, state in ends.items() if name not in ("evaluate-labels_0", "train_segmenter-1")} == {
        "cached"
    }


def test_a_run_needs_no_salient_object_masks(finished: Finished) -> None:
    """Two rounds of self-training on the prior and the CAMs lead to labels without a saliency set."""
    changes = ("saliency.targets=prior", "saliency.self_training_rounds=2", "self_training.minimum_foreground=0")
    thresholds = ("self_training.saliency_foreground=0.1", "self_training.cam_foreground=0.2")
    nodes = select(dag(finished.folder / "data", *changes, *thresholds, "saliency_set=null"), until="mine_objects")
    result = run(nodes, finished.root)
    assert not result.failures
    assert built(result) == {
        "predict_prior",
        *(
            f"{stage}-{r}"
            for stage in ("make_saliency_pseudo_labels", "train_saliency", "predict_saliency")
            for r in (1, 2)
        ),
        "mine_objects",
    }
    mined = result.outcomes["make_saliency_pseudo_labels-1"].artifact
    assert mined.manifest["metrics"]["images_with_targets"] > 0 and mined.images == 10
