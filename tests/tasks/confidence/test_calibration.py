"""Confidence held against masks: planted errors, planted calibrations, and a drawn run of which all is known."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tag2mask.configs.schema import Evaluation
from tag2mask.tasks import evaluate
from tag2mask.tasks.confidence.calibration import Calibration, calibration_error, cross_calibrated
from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_run import Labels, write_dataset, write_label_maps, write_masks

CLASSES = ("ant", "bee")


def test_the_error_is_what_bins_are_off_by_their_labels() -> None:
    """Bins of 3 and 1 labels that are 0.1 too high and 0.3 too low make (3 x 0.1 + 1 x 0.3) / 4."""
    confidences, ious = np.array([0.25, 0.25, 0.25, 0.55]), np.array([0.05, 0.15, 0.25, 0.85])
    assert calibration_error(confidences, ious) == pytest.approx(0.15)
    assert calibration_error(confidences, confidences) == 0 == calibration_error(np.zeros(0), np.zeros(0))
    assert calibration_error(np.array([1.0]), np.array([0.4])) == pytest.approx(0.6)


def test_a_planted_calibration_is_found() -> None:
    """Where the IoU is the square of the confidence, calibration by other images takes away what it was off."""
    confidences = np.random.default_rng(0).random(2000)
    ious = confidences**2
    images = [f"p{number // 2}" for number in range(len(confidences))]
    assert calibration_error(confidences, ious) == pytest.approx(1 / 6, abs=0.01)  # the integral of p - p^2
    calibrated = cross_calibrated(confidences, ious, images)
    assert calibrated is not None and calibration_error(calibrated, ious) < 0.003
    assert np.abs(calibrated - ious).max() < 0.02


def test_an_image_is_calibrated_by_others_alone() -> None:
    """Labels of one image that are all wrong pull down the others of their confidence, not themselves."""
    confidences = np.full(20, 0.8)
    images = [f"p{number // 2}" for number in range(20)]
    ious = np.where(np.arange(20) < 2, 0.0, 1.0)
    calibrated = cross_calibrated(confidences, ious, images)
    assert calibrated is not None and (calibrated[:2] == 1).all() and (calibrated[2:4] < 1).all()
    assert cross_calibrated(confidences[:6], ious[:6], images[:6]) is None


def test_a_calibration_never_falls_and_is_the_nearest_such_line() -> None:
    """Two labels in the wrong order get the mean of their outcomes, equal confidences that of theirs."""
    line = Calibration.fitted(np.array([0.1, 0.4, 0.6, 0.9, 0.9]), np.array([0.0, 0.7, 0.3, 0.6, 1.0]))
    assert line.expected.tolist() == pytest.approx([0.0, 0.5, 0.5, 0.8])
    assert line(np.array([0.0, 0.5, 0.75, 1.0])).tolist() == pytest.approx([0.0, 0.5, 0.65, 0.8])


def drawn(count: int) -> tuple[Labels, Labels, list[dict[str, Any]]]:
    """Masks of a whole row of eight pixels, labels of which 1 to 8 are right, and confidences 0.2 above their IoU."""
    masks, labels, rows = {}, {}, []
    for number in range(count):
        mask, right = np.zeros((3, 8), np.uint8), 1 + number % 6
        mask[0] = 1 + number % 2
        mask[2] = 255  # void, whatever a label says there
        drawn_labels = np.where(mask == 255, 1, 0).astype(np.uint8)
        drawn_labels[0, :right] = mask[0, :right]
        image_id = f"p{number:02d}"
        masks[image_id], labels[image_id] = mask, drawn_labels
        rows.append({"image_id": image_id, "class": CLASSES[number % 2], "confidence": right / 8 + 0.2})
    return masks, labels, sorted(rows, key=lambda row: row["confidence"])


def test_a_run_reports_its_calibration(tmp_path: Path) -> None:
    """Confidences that are 0.2 too high are reported as such, and calibrated without; corrected images are left out."""
    masks, labels, rows = drawn(24)
    rows.insert(0, {"image_id": "p00", "class": "bee", "confidence": 0.0})  # neither labeled nor in the mask
    write_table(tmp_path / "rated" / "confidence.csv", rows)
    write_labels(tmp_path / "corrections" / "p23.png", masks["p23"])
    given: dict[str, Any] = {"kind": "confidence", "split": "train", "title": "confidence"}
    given |= {"dataset": write_dataset(tmp_path / "data", CLASSES, masks), "masks": write_masks(tmp_path / "m", masks)}
    given |= {"labels": write_label_maps(tmp_path / "l", "mine_objects", labels), "subject": tmp_path / "rated"}
    evaluate.run(Evaluation(), tmp_path / "out", StageRuntime(workers=2), corrections=tmp_path / "corrections", **given)
    scores = read_json(tmp_path / "out" / "scores.json")
    summary = scores["summary"]
    assert (scores["images"], summary["labels"]) == (23, 23)
    assert summary["calibration_error"] == pytest.approx(0.2) and summary["calibrated_error"] == pytest.approx(0)
    assert summary["mean_confidence"] - summary["mean_iou"] == pytest.approx(0.2)
    assert [(row["class"], row["labels"]) for row in scores["per_class"]] == [("ant", 12), ("bee", 11)]
    assert [row["calibration_error"] for row in scores["per_class"]] == pytest.approx([0.2, 0.2])
    assert sum(one["labels"] for one in scores["bins"]) == 23
    table = list(csv.DictReader((tmp_path / "out" / "calibrated.csv").open()))
    assert len(table) == 25 and table[0]["iou"] == "" and float(table[0]["calibrated"]) == pytest.approx(1 / 8)
    for row in table[1:]:
        right = round(float(row["confidence"]) - 0.2, 3)
        assert float(row["calibrated"]) == pytest.approx(right)
        assert row["iou"] == ("" if row["image_id"] == "p23" else str(right))
