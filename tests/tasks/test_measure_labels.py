"""The stage that measures labels without masks."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tag2mask.configs.schema import Measurement
from tag2mask.tasks import measure_labels
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_run import blocks, maps_of, write_class_maps, write_dataset, write_label_maps, write_saliency

CLASSES = ("ant", "bee", "cow")


def inputs(folder: Path) -> dict[str, Path]:
    """Artifacts whose evidences all see what the labels say, and one image of the validation split."""
    masks = blocks(3, 5, 3)
    maps = {image_id: maps_of(mask) for image_id, mask in masks.items()}
    salient = {image_id: ((mask % 255) > 0) * np.uint8(200) for image_id, mask in masks.items()}
    return {
        "dataset": write_dataset(folder / "dataset", CLASSES, masks, val=("p04",)),
        "labels": write_label_maps(folder / "labels", "mask_nonsalient", masks),
        "cams": write_class_maps(folder / "cams", "infer_cams", maps),
        "saliency": write_saliency(folder / "saliency", salient),
        "predictions": write_label_maps(folder / "predictions", "refine_masks", {i: m % 255 for i, m in masks.items()}),
    }


def measured(folder: Path, **given: Path) -> dict[str, float | None]:
    """The summary that the stage writes."""
    measure_labels.run(Measurement(), folder, StageRuntime(workers=2), **given)
    return json.loads((folder / "metrics.json").read_text())  # type: ignore[no-any-return]


def test_labels_that_all_evidences_see_have_perfect_signals(tmp_path: Path) -> None:
    """Every tag is covered and every pair agrees wholly; the validation split is left out."""
    given = inputs(tmp_path)
    summary = measured(tmp_path / "out", **given)
    pairs = [value for name, value in summary.items() if name.startswith("agreement_")]
    assert pairs == [pytest.approx(1)] * 6
    assert summary["missing_tags"] == summary["untagged"] == summary["wholly_ignored"] == 0
    rows = list(csv.DictReader((tmp_path / "out" / "per_image.csv").open()))
    assert [row["image_id"] for row in rows] == ["p00", "p01", "p02", "p03"]
    signals = json.loads((tmp_path / "out" / "signals.json").read_text())
    assert signals["images"] == 4 and signals["summary"] == summary and signals["saliency"] == 128
    assert [row["class"] for row in csv.DictReader((tmp_path / "out" / "per_class.csv").open())] == list(CLASSES)


def test_without_a_prediction_its_agreement_is_absent(tmp_path: Path) -> None:
    """The first labels have no prediction; what is not there is not measured."""
    given = inputs(tmp_path)
    del given["predictions"]
    assert not [name for name in measured(tmp_path / "out", **given) if "prediction" in name]


def test_a_map_of_another_size_is_named(tmp_path: Path) -> None:
    """The message names the file of the labels."""
    given = inputs(tmp_path)
    write_label_maps(given["labels"], "mask_nonsalient", {"p01": np.zeros((3, 3), np.uint8)})
    with pytest.raises(ValueError, match=r"labels/p01.png: cam has shape"):
        measured(tmp_path / "out", **given)
