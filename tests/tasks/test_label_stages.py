"""The stages that make labels with the dense CRF: from class maps, and from a prediction fused with labels 0."""

from pathlib import Path

import numpy as np
import pytest

from tag2mask.configs.schema import CamRefinement, Fusion, Refinement
from tag2mask.tasks import fuse_labels, refine_cams
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_files import files_of
from tests.tasks.drawn_run import (
    Labels,
    blocks,
    maps_of,
    write_class_maps,
    write_dataset,
    write_label_maps,
    write_saliency,
)
from tests.tasks.interruption import Interrupted, interrupted_after

CLASSES = ("cat", "dog", "owl")
NO_CRF = Refinement(iterations=0)


@pytest.fixture(scope="module")
def masks() -> Labels:
    """Masks of six small images of one or two rectangles, without void."""
    drawn = blocks(5, 6, len(CLASSES), size=(40, 56))
    return {image_id: np.where(mask == 255, 0, mask).astype(np.uint8) for image_id, mask in drawn.items()}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory, masks: Labels) -> dict[str, Path]:
    """The dataset, class maps that are certain where the masks are, and a saliency that is half right."""
    root = tmp_path_factory.mktemp("evidence")
    saliency = {image_id: np.where(mask > 0, 255, 60).astype(np.uint8) for image_id, mask in masks.items()}
    return {
        "dataset": write_dataset(root / "dataset", CLASSES, masks),
        "saliency": write_saliency(root / "saliency", saliency),
        "cams": write_class_maps(root / "cams", "infer_cams", {i: maps_of(m) for i, m in masks.items()}),
    }


def write_scores(folder: Path, masks: Labels, certainty: float) -> Path:
    """Scores of `predict_masks` that give the masks' classes a probability, and share the rest equally."""
    (folder / "scores").mkdir(parents=True)
    for image_id, mask in masks.items():
        numbers = np.unique(mask)
        other = (1 - certainty) / max(len(numbers) - 1, 1)
        scores = np.where(mask == numbers[:, None, None], certainty, other).astype(np.float16)
        np.savez(folder / "scores" / f"{image_id}.npz", scores=scores, numbers=numbers)
    return folder


def labels_below(folder: Path) -> Labels:
    """Image id -> labels."""
    return {path.stem: read_labels(path) for path in sorted(folder.glob("*.png"))}


def assert_mostly(found: Labels, expected: Labels, share: float) -> None:
    """All images are there, and that share of the pixels of each is what is expected."""
    assert found.keys() == expected.keys()
    for image_id, mask in expected.items():
        assert (found[image_id] == mask).mean() >= share, image_id


def test_certain_class_maps_become_their_labels(tmp_path: Path, evidence: dict[str, Path], masks: Labels) -> None:
    """Class maps that know the objects are labels of the objects, whatever saliency says of the background."""
    refine_cams.run(CamRefinement(), tmp_path, StageRuntime(), **evidence)
    assert_mostly(labels_below(tmp_path), masks, 0.98)


def test_labels_with_hardly_any_foreground_are_ignored(tmp_path: Path, evidence: dict[str, Path]) -> None:
    """Below `minimum_foreground` a whole label is ignored."""
    config = CamRefinement(minimum_foreground=0.9, crf=NO_CRF)
    refine_cams.run(config, tmp_path, StageRuntime(), **evidence)
    assert all((labels == 255).all() for labels in labels_below(tmp_path).values())


@pytest.mark.parametrize("stop", [1, 4])
def test_interrupted_it_ends_the_same(tmp_path: Path, evidence: dict[str, Path], stop: int) -> None:
    """Interrupted and resumed, the labels are the same bytes."""
    refine_cams.run(CamRefinement(crf=NO_CRF), tmp_path / "whole", StageRuntime(shard=2), **evidence)
    with pytest.raises(Interrupted):
        refine_cams.run(CamRefinement(crf=NO_CRF), tmp_path / "parts", interrupted_after(stop, shard=2), **evidence)
    refine_cams.run(CamRefinement(crf=NO_CRF), tmp_path / "parts", StageRuntime(shard=2), **evidence)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


@pytest.mark.parametrize(("certainty", "winner"), [(0.51, "labels"), (0.99, "prediction")])
def test_the_surer_observer_wins(
    tmp_path: Path, evidence: dict[str, Path], masks: Labels, certainty: float, winner: str
) -> None:
    """A prediction that is hardly sure takes the labels, one that is sure keeps its own."""
    moved = {image_id: np.roll(mask, 6, axis=1) for image_id, mask in masks.items()}
    given = {
        "scores": write_scores(tmp_path / "scores", moved, certainty),
        "labels": write_label_maps(tmp_path / "labels", "refine_cams", masks),
    }
    fuse_labels.run(
        Fusion(trust=0.8, crf=NO_CRF), tmp_path / "out", StageRuntime(), dataset=evidence["dataset"], **given
    )
    assert_mostly(labels_below(tmp_path / "out"), {"labels": masks, "prediction": moved}[winner], 1.0)


def test_agreement_is_kept_through_the_crf(tmp_path: Path, evidence: dict[str, Path], masks: Labels) -> None:
    """Where prediction and labels agree and the image has its edges there, fusion changes nothing."""
    given = {
        "scores": write_scores(tmp_path / "scores", masks, 0.9),
        "labels": write_label_maps(tmp_path / "labels", "refine_cams", masks),
    }
    fuse_labels.run(Fusion(), tmp_path / "out", StageRuntime(), dataset=evidence["dataset"], **given)
    assert_mostly(labels_below(tmp_path / "out"), masks, 0.98)


def test_an_image_of_background_alone_goes_through(tmp_path: Path) -> None:
    """Where neither prediction nor labels have a class, the fused label has none either."""
    empty = {"p00": np.zeros((8, 12), np.uint8)}
    given = {
        "dataset": write_dataset(tmp_path / "dataset", CLASSES, empty),
        "scores": write_scores(tmp_path / "scores", empty, 1.0),
        "labels": write_label_maps(tmp_path / "labels", "refine_cams", empty),
    }
    fuse_labels.run(Fusion(minimum_foreground=0), tmp_path / "out", StageRuntime(), **given)
    assert_mostly(labels_below(tmp_path / "out"), empty, 1.0)
