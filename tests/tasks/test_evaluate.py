"""Evaluation: figures worked out by hand, the guard against training on the ground truth, and what it refuses."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tag2mask.configs.schema import Evaluation, NodeFacts
from tag2mask.tasks import evaluate
from tag2mask.tasks.dataset.ground_truth import GroundTruthLeak, equals_truth, refuse_leak
from tag2mask.tasks.report.steps import Evaluated, Step
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_run import (
    Labels,
    blocks,
    evaluated,
    maps_of,
    write_class_maps,
    write_dataset,
    write_label_maps,
    write_masks,
    write_saliency,
)

CLASSES = ("cat", "dog")


def small_masks() -> Labels:
    """Two images of 2x4: the first half cat with a void pixel, the second a quarter dog."""
    return {
        "a": np.array([[1, 1, 0, 0], [1, 255, 0, 0]], np.uint8),
        "b": np.array([[2, 0, 0, 0], [2, 0, 0, 0]], np.uint8),
    }


def score(root: Path, masks: Labels, subject: Path, kind: str, **other: Any) -> dict[str, Any]:
    """Draw the dataset and its masks, evaluate, and read `scores.json`."""
    dataset, truth = write_dataset(root / "data", CLASSES, masks), write_masks(root / "masks", masks)
    out = evaluated(root / "out", dataset, truth, subject, kind, **other)
    scores: dict[str, Any] = read_json(out / "scores.json")
    return scores


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_labels_are_scored_as_worked_out_by_hand(tmp_path: Path) -> None:
    """Ignored pixels lower the mean IoU but not that of the labeled pixels, and void pixels count nowhere."""
    labels = {
        "a": np.array([[1, 255, 0, 0], [1, 2, 0, 1]], np.uint8),
        "b": np.array([[2, 0, 0, 0], [0, 0, 0, 0]], np.uint8),
    }
    subject = write_label_maps(tmp_path / "labels", "mine_objects", labels)
    scores = score(tmp_path, small_masks(), subject, "labels", title="labels 0")
    # background: 9 of 10 true, 10 predicted; cat: 2 hits, 3 true, 3 predicted; dog: 1 hit, 2 true, 1 predicted.
    iou = [9 / 11, 2 / 4, 1 / 2]
    assert [row["iou"] for row in scores["per_class"]] == pytest.approx(iou)
    assert scores["summary"]["miou"] == pytest.approx(np.mean(iou))
    assert scores["summary"]["miou_labeled"] == pytest.approx(np.mean([9 / 11, 2 / 3, 1 / 2]))
    assert scores["summary"]["ignored_share"] == pytest.approx(1 / 15)
    assert (scores["title"], scores["images"], scores["classes"]) == ("labels 0", 2, ["background", "cat", "dog"])
    assert read_json(tmp_path / "out" / "metrics.json") == scores["summary"]
    images = rows(tmp_path / "out" / "per_image.csv")
    assert [float(row["miou"]) for row in images] == pytest.approx([(3 / 4 + 2 / 4) / 2, (6 / 7 + 1 / 2) / 2])
    assert [float(row["ignored_share"]) for row in images] == pytest.approx([1 / 7, 0])
    classes = rows(tmp_path / "out" / "per_class.csv")
    assert [row["class"] for row in classes] == ["background", "cat", "dog"]
    assert [float(row["recall"]) for row in classes] == pytest.approx([9 / 10, 2 / 3, 1 / 2])


def test_predictions_are_read_from_their_own_folder(tmp_path: Path) -> None:
    """Predictions are measured in `labels/`, and perfect ones reach 1."""
    truth = small_masks()
    perfect = {image_id: np.where(mask == 255, 2, mask).astype(np.uint8) for image_id, mask in truth.items()}
    subject = write_label_maps(tmp_path / "scores", "predict_masks", perfect)
    summary = score(tmp_path, truth, subject, "predictions")["summary"]
    assert summary.pop("ignored_share") == 0
    assert set(summary) == {"miou", "miou_labeled", "miou_as_background", "precision", "recall"}
    assert set(summary.values()) == {1}


def test_class_maps_are_scored_at_their_best_threshold(tmp_path: Path) -> None:
    """Maps that hold the truth between two levels of noise are perfect at the thresholds in between, and say so."""
    masks = blocks(0, 6, 2)
    maps = {}
    for image_id, mask in masks.items():
        pixels, numbers = maps_of(mask)
        maps[image_id] = (np.where(pixels == 255, 204, 51).astype(np.uint8), numbers)  # 0.8 inside, 0.2 outside
    subject = write_class_maps(tmp_path / "cams", "infer_cams", maps)
    scores = score(tmp_path, masks, subject, "class_maps")
    assert len(scores["thresholds"]) == len(scores["curve"]) == 100
    perfect = [t for t, miou in zip(scores["thresholds"], scores["curve"], strict=True) if miou == 1]
    assert min(perfect) == pytest.approx(0.2, abs=0.01) and max(perfect) == pytest.approx(0.8, abs=0.01)
    assert scores["summary"]["best_threshold"] == min(perfect)
    assert "chosen on the masks" in scores["note"]
    assert all(float(row["miou"]) == 1 for row in rows(tmp_path / "out" / "per_image.csv"))


def test_saliency_is_measured_without_void_pixels(tmp_path: Path) -> None:
    """Any class counts as salient, and whatever a map says of void pixels changes nothing."""
    masks = {**small_masks(), "v": np.full((2, 4), 255, np.uint8)}
    maps = {image_id: np.where(mask > 0, 255, 0).astype(np.uint8) for image_id, mask in masks.items()}
    maps["b"][0, 3] = 255  # one of eight pixels is wrong
    found = []
    for number, void in enumerate((0, 255)):
        reported = {i: np.where(masks[i] == 255, void, pixels).astype(np.uint8) for i, pixels in maps.items()}
        subject = write_saliency(tmp_path / f"saliency{number}", reported)
        found.append(score(tmp_path, masks, subject, "saliency"))
    assert found[0] == found[1]
    scores = found[0]
    assert scores["summary"]["mae"] == pytest.approx(1 / 16)
    assert scores["summary"]["max_f"] == pytest.approx((1 + 1.3 * 2 / (0.3 * 2 + 3)) / 2)
    assert (scores["images_all_void"], scores["per_class"], len(scores["curve"])) == (1, None, 256)
    assert [row["mae"] for row in rows(tmp_path / "out" / "per_image.csv")] == ["0.0", "0.125", ""]


def test_saliency_has_every_measure_of_the_field(tmp_path: Path) -> None:
    """Perfect maps have the best figures of all measures, of the whole and of each image, whatever void pixels hold."""
    masks = blocks(2, 3, 2)
    maps = {image_id: np.where(mask > 0, 255, 0).astype(np.uint8) for image_id, mask in masks.items()}
    for mask, pixels in zip(masks.values(), maps.values(), strict=True):
        pixels[mask == 255] = np.random.default_rng(0).integers(0, 256, (mask == 255).sum())
    scores = score(tmp_path, masks, write_saliency(tmp_path / "saliency", maps), "saliency")
    expected = {name: 1.0 for name in ("s_measure", "max_e", "adaptive_e", "max_f", "adaptive_f", "weighted_f")}
    found = scores["summary"]
    assert found.keys() == {*expected, "mae", "mean_e", "mean_f"}
    assert found["mae"] == 0 and {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-3)
    assert found["mean_f"] > 0.99 and found["mean_e"] > 0.99 and len(scores["e_curve"]) == 256
    for row in rows(tmp_path / "out" / "per_image.csv"):
        assert list(row) == ["image_id", "mae", "s_measure", "adaptive_e", "adaptive_f", "weighted_f"]
        assert [float(value) for value in list(row.values())[1:]] == pytest.approx([0, 1, 1, 1, 1], abs=2e-3)


def test_saliency_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    """A map that does not fit its mask is named with both shapes."""
    masks = small_masks()
    maps = {"a": np.zeros((2, 4), np.uint8), "b": np.zeros((4, 2), np.uint8)}
    with pytest.raises(ValueError, match=r"b\.png: the saliency map has shape \(4, 2\), the mask \(2, 4\)"):
        score(tmp_path, masks, write_saliency(tmp_path / "saliency", maps), "saliency")


def test_images_that_are_nothing_but_void_have_no_score(tmp_path: Path) -> None:
    """An all-void mask leaves its image's score blank and the others untouched."""
    masks = {**small_masks(), "v": np.full((2, 4), 255, np.uint8)}
    labels = {image_id: np.zeros((2, 4), np.uint8) for image_id in masks}
    subject = write_label_maps(tmp_path / "labels", "mine_objects", labels)
    scores = score(tmp_path, masks, subject, "labels")
    assert [bool(row["miou"]) for row in rows(tmp_path / "out" / "per_image.csv")] == [True, True, False]
    assert scores["summary"]["miou"] == pytest.approx(10 / 15 / 3)


@pytest.mark.parametrize("kind", ["training_labels", "labels"])
def test_training_labels_that_are_the_truth_stop_the_run(tmp_path: Path, kind: str) -> None:
    """Training on the ground truth is refused with the number of equal images; as mere labels they are measured."""
    masks = blocks(1, 10, 2)
    honest = {image_id: np.where(mask == 255, 0, mask).astype(np.uint8) for image_id, mask in masks.items()}
    for image_id in list(masks)[3:]:
        honest[image_id][0, 0] = 1
    subject = write_label_maps(tmp_path / "labels", "mine_objects", honest)
    if kind == "training_labels":
        with pytest.raises(GroundTruthLeak, match=r"3 of 10 label maps.*not weak supervision"):
            score(tmp_path, masks, subject, kind)
        assert not (tmp_path / "out" / "scores.json").exists()
    else:
        assert score(tmp_path, masks, subject, kind)["equal_to_truth"] == 3


def test_training_labels_that_are_equal_by_chance_pass(tmp_path: Path) -> None:
    """One equal image of ten is allowed at the default of a tenth."""
    masks = blocks(1, 10, 2)
    labels = {image_id: np.where(mask == 255, 0, mask).astype(np.uint8) for image_id, mask in masks.items()}
    for image_id in list(masks)[1:]:
        labels[image_id][0, 0] = 255
    subject = write_label_maps(tmp_path / "labels", "mine_objects", labels)
    assert score(tmp_path, masks, subject, "training_labels")["equal_to_truth"] == 1


def test_equality_ignores_void_alone() -> None:
    """An ignored pixel equals void only, and an image without foreground proves nothing either way."""
    target = np.array([[1, 255, 0]], np.uint8)
    assert equals_truth(np.array([[1, 7, 0]], np.uint8), target) is True
    assert equals_truth(np.array([[1, 255, 255]], np.uint8), target) is False
    assert equals_truth(np.array([[0, 0]], np.uint8), np.array([[0, 255]], np.uint8)) is None


def test_the_guard_refuses_more_than_its_share() -> None:
    """Exactly the share passes, one more does not, and without comparable images nothing is refused."""
    refuse_leak(1, 10, 0.1, "labels")
    refuse_leak(0, 0, 0.0, "labels")
    with pytest.raises(GroundTruthLeak, match="labels: 2 of 10"):
        refuse_leak(2, 10, 0.1, "labels")


def test_missing_files_are_named_before_the_work(tmp_path: Path) -> None:
    """A step that lacks images with masks is refused with their ids."""
    masks = blocks(2, 4, 2)
    labels = {image_id: mask for image_id, mask in masks.items() if image_id != "p02"}
    subject = write_label_maps(tmp_path / "labels", "mine_objects", labels)
    with pytest.raises(ValueError, match=r"1 of 4 images with masks have no <id>\.png: p02"):
        score(tmp_path, masks, subject, "labels")


@pytest.mark.parametrize("kind", ["labels", "saliency"])
def test_files_of_another_size_are_named(tmp_path: Path, kind: str) -> None:
    """A map that is not at the size of its mask is refused by name."""
    maps = {"a": np.zeros((2, 4), np.uint8), "b": np.zeros((4, 2), np.uint8)}
    if kind == "saliency":
        subject = write_saliency(tmp_path / "subject", maps)
    else:
        subject = write_label_maps(tmp_path / "subject", "mine_objects", maps)
    with pytest.raises(ValueError, match=r"b\.png: .*\(4, 2\).*\(2, 4\)"):
        score(tmp_path, small_masks(), subject, kind)


def test_a_split_without_masks_has_no_figures(tmp_path: Path) -> None:
    """Where no image of the split has a mask, the run goes on and the result says so."""
    masks = small_masks()
    subject = write_label_maps(tmp_path / "scores", "predict_masks", masks)
    scores = score(tmp_path, masks, subject, "predictions", split="val")
    assert (scores["images"], scores["summary"], scores["per_class"]) == (0, {}, None)
    assert rows(tmp_path / "out" / "per_image.csv") == []


@pytest.mark.parametrize("kind", ["labels", "class_maps"])
def test_masks_without_any_class_have_no_figures(tmp_path: Path, kind: str) -> None:
    """The agreement of background alone is no mean IoU: the result says that the masks show no class."""
    masks = {name: np.array([[255, 255, 0, 0]] * 2, np.uint8) for name in "ab"}
    if kind == "labels":
        subject = write_label_maps(tmp_path / "labels", "mine_objects", masks)
    else:
        maps = {name: (np.zeros((1, 2, 4), np.uint8), [1]) for name in masks}
        subject = write_class_maps(tmp_path / "cams", "infer_cams", maps)
    scores = score(tmp_path, masks, subject, kind)
    assert (scores["images"], scores["summary"], scores["per_class"]) == (2, {}, None)
    assert scores["note"] == "no mask of the split 'train' shows any class"
    assert not Evaluated.read(Step("evaluate-it", tmp_path / "out", {}, NodeFacts(title="it", measures="it"))).measured


def test_threads_do_not_change_a_byte(tmp_path: Path) -> None:
    """The files are the same however many threads read the images."""
    masks = blocks(3, 12, 2)
    dataset, truth = write_dataset(tmp_path / "data", CLASSES, masks), write_masks(tmp_path / "masks", masks)
    subject = write_class_maps(tmp_path / "cams", "infer_cams", {i: maps_of(mask) for i, mask in masks.items()})
    reported: list[tuple[int, int]] = []
    given = {"kind": "class_maps", "split": "train", "title": "CAM", "dataset": dataset, "masks": truth}
    for threads in (1, 4):
        runtime = StageRuntime(workers=threads, report=lambda done, total, _: reported.append((done, total)))
        evaluate.run(Evaluation(), tmp_path / str(threads), runtime, subject=subject, **given)
    names = {path.name for path in (tmp_path / "1").iterdir()}
    assert names == {"scores.json", "metrics.json", "per_image.csv", "per_class.csv"}
    assert all((tmp_path / "1" / name).read_bytes() == (tmp_path / "4" / name).read_bytes() for name in names)
    assert reported == [(n, 12) for n in range(1, 13)] * 2


def test_corrected_images_are_not_measured(tmp_path: Path) -> None:
    """What people drew is left out of the figures, and of the guard, which would take it for a leak."""
    masks = {image_id: mask % 255 for image_id, mask in blocks(5, 4, 2).items()}
    drawn = {"p00": masks["p00"], "p01": masks["p01"]}
    labels = {image_id: drawn.get(image_id, np.roll(mask, 2, axis=1)) for image_id, mask in masks.items()}
    subject = write_label_maps(tmp_path / "labels", "apply_corrections", labels)
    corrections = write_label_maps(tmp_path / "corrections", "index_corrections", drawn)
    dataset, truth = write_dataset(tmp_path / "data", CLASSES, masks), write_masks(tmp_path / "masks", masks)
    given: dict[str, Any] = {"kind": "training_labels", "split": "train", "title": "x"}
    given |= {"dataset": dataset, "masks": truth, "subject": subject}
    with pytest.raises(GroundTruthLeak):
        evaluate.run(Evaluation(), tmp_path / "leak", StageRuntime(), **given)
    out = tmp_path / "out"
    evaluate.run(Evaluation(), out, StageRuntime(), corrections=corrections, **given)
    assert read_json(out / "scores.json")["images"] == 2
    assert [row["image_id"] for row in rows(out / "per_image.csv")] == ["p02", "p03"]
