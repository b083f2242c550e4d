"""Scores of `confidence.csv`: how far each image and class is from its IoU with the mask."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.tasks.confidence.calibration import Calibration, calibration_error, cross_calibrated, reliability
from tag2mask.tasks.dataset.label_maps import IGNORE, read_labels
from tag2mask.tasks.dataset.tables import read_table, write_table
from tag2mask.tasks.metrics.step_scores import StepFiles, StepScores
from tag2mask.tasks.store.runtime import StageRuntime

COLUMNS = ("image_id", "class", "confidence", "calibrated", "iou")
"""Of `calibrated.csv`."""


def measure_regions(files: StepFiles, image_id: str) -> dict[int, float]:
    """Class number -> IoU of its region in the labels and in the mask of an image, without void pixels."""
    labels, target = read_labels(files.path(image_id)), files.truth.mask(image_id)
    counted = target != IGNORE
    found = {}
    for number in set(np.unique(labels[counted]).tolist()) | set(np.unique(target).tolist()):
        one, other = (labels == number) & counted, target == number
        if number not in (0, IGNORE):
            found[number] = float((one & other).sum() / (one | other).sum())
    return found


def score_confidence(
    files: StepFiles, names: Sequence[str], confidence: Path, out: Path, runtime: StageRuntime
) -> StepScores:
    """Hold a table of confidences against the masks, and write `calibrated.csv`, which has all of its rows.

    Args:
        files: the labels that are rated, beside their masks.
        names: the background and the classes 1..C.
        confidence: `measure_confidence` artifact.
        out: folder to write to.
        runtime: executor, workers, progress.
    """
    regions = dict(files.each(measure_regions, out, runtime))
    rows: list[dict[str, Any]] = [*read_table(confidence / "confidence.csv")]
    for row in rows:
        row["confidence"] = float(row["confidence"])
        row["iou"] = regions.get(row["image_id"], {}).get(names.index(row["class"]))
    known = [row for row in rows if row["iou"] is not None]
    confidences, ious = (np.array([row[name] for row in known], float) for name in ("confidence", "iou"))
    calibrated = cross_calibrated(confidences, ious, [row["image_id"] for row in known])
    details: dict[str, Any] = {"bins": list(reliability(confidences, ious))}
    if calibrated is not None:
        curve = Calibration.fitted(confidences, ious)
        details["calibration"] = {"confidence": curve.confidences.tolist(), "iou": curve.expected.tolist()}
        for row, value in zip(rows, curve(np.array([row["confidence"] for row in rows])).tolist(), strict=True):
            row["calibrated"] = value
        for row, value in zip(known, calibrated.tolist(), strict=True):
            row["calibrated"] = value
    write_table(out / "calibrated.csv", [[row.get(name) for name in COLUMNS] for row in rows], COLUMNS)
    by_class = {name: [row for row in known if row["class"] == name] for name in names[1:]}
    per_class = [{"class": name, **_figures(own)} for name, own in by_class.items() if own]
    return StepScores(_figures(known) if known else {}, details, _lowest(known), per_class)


def _figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means and errors of some labels, at least one."""
    confidences, ious = (np.array([row[key] for row in rows], float) for key in ("confidence", "iou"))
    after = np.array([row["calibrated"] for row in rows if "calibrated" in row])
    return {
        "labels": len(rows),
        "mean_confidence": float(confidences.mean()),
        "mean_iou": float(ious.mean()),
        "calibration_error": calibration_error(confidences, ious),
        "calibrated_error": calibration_error(after, ious) if after.size else None,
    }


def _lowest(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row an image: its least certain class, which decides when it is reviewed."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:  # the least certain first
        found.setdefault(row["image_id"], {name: row.get(name) for name in COLUMNS})
    return [found[image_id] for image_id in sorted(found)]
