"""How far the evidences stand behind a label: planted agreement, planted doubt, and tags without a pixel."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tag2mask.configs.schema import Confidence
from tag2mask.tasks import measure_confidence
from tag2mask.tasks.confidence.agreement import LabelEvidence, class_confidence, pixel_confidence
from tag2mask.tasks.dataset.arrays import write_scores
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_run import blocks, maps_of, write_class_maps, write_dataset, write_label_maps, write_saliency

CLASSES = ("ant", "bee", "cow")


def certain(labels: np.ndarray) -> LabelEvidence:
    """Evidence that says what the labels say, ignored pixels being background."""
    clear = labels % 255
    numbers = np.unique(np.append(clear, 0)).astype(np.uint8)
    scores = np.stack([(clear == number).astype(np.float32) for number in numbers])
    cams = {int(number): clear == number for number in numbers if number}
    return LabelEvidence(scores, numbers, cams, clear != 0, clear)


def test_labels_that_all_evidences_see_are_certain() -> None:
    """Each figure is one, whatever is ignored, and so is every pixel that counts."""
    labels = blocks(3, 1, 3)["p00"]
    (number,) = set(np.unique(labels).tolist()) - {0, 255}
    found = class_confidence(labels, number, certain(labels))
    assert {found[name] for name in ("probability", "saliency", "cam", "prediction", "crf", "confidence")} == {1.0}
    assert np.array_equal(pixel_confidence(labels, certain(labels)), np.where(labels == 255, 0, 255))


def test_doubt_lowers_its_own_figure() -> None:
    """Half a region seen by the CRF alone counts as a half of that figure and of no other."""
    labels = np.zeros((8, 8), np.uint8)
    labels[:4] = 2
    evidence = certain(labels)
    evidence.refined[2:4] = 0
    found = class_confidence(labels, 2, evidence)
    assert found["crf"] == pytest.approx(0.5) and found["confidence"] == pytest.approx(0.9)
    assert found["pixels"] == 32 and found["prediction"] == 1


def test_a_tag_without_a_pixel_is_the_least_certain() -> None:
    """There is nothing to rate, and nothing worth more to look at; a class that nothing knows has zeros."""
    labels = np.zeros((4, 4), np.uint8)
    empty = class_confidence(labels, 3, certain(labels))
    assert empty["confidence"] == 0 and empty["probability"] is None
    unknown = class_confidence(np.full((4, 4), 3, np.uint8), 3, certain(labels))
    assert unknown["confidence"] == 0 and unknown["crf"] == 0


def test_the_table_begins_with_the_least_certain(tmp_path: Path) -> None:
    """The spoiled image stands first, the validation split is left out, and maps of pixels are made on request."""
    masks = blocks(3, 5, 3)
    given: dict[str, Any] = {
        "dataset": write_dataset(tmp_path / "dataset", CLASSES, masks, val=("p04",)),
        "labels": write_label_maps(tmp_path / "labels", "mask_nonsalient", masks),
        "cams": write_class_maps(tmp_path / "cams", "infer_cams", {i: maps_of(m) for i, m in masks.items()}),
        "saliency": write_saliency(tmp_path / "saliency", {i: (m % 255 > 0) * np.uint8(255) for i, m in masks.items()}),
        "predictions": write_label_maps(
            tmp_path / "refined", "refine_masks", {i: m % 255 * (i != "p02") for i, m in masks.items()}
        ),
        "scores": tmp_path / "predicted",
    }
    for image_id, mask in masks.items():
        evidence = certain(mask)
        write_scores(
            tmp_path / "predicted" / "scores" / f"{image_id}.npz",
            evidence.probabilities.astype(np.float16),
            evidence.classes,
        )
    out = tmp_path / "out"
    measure_confidence.run(Confidence(per_pixel=True), out, StageRuntime(threads=2), **given)
    rows = list(csv.DictReader((out / "confidence.csv").open()))
    assert rows[0]["image_id"] == "p02" and float(rows[0]["confidence"]) == pytest.approx(0.8)
    assert {row["image_id"] for row in rows} == {"p00", "p01", "p02", "p03"}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["pairs"] == len(rows) and metrics["lowest_confidence"] == pytest.approx(0.8)
    assert read_gray(out / "pixels" / "p00.png").shape == masks["p00"].shape
