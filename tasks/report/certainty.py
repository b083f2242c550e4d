"""What a report says of the labels' confidence: the least certain ones, and how far it is off the masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from tag2mask.tasks.dataset.tables import read_columns
from tag2mask.tasks.report.charts import Curve, curve_chart
from tag2mask.tasks.report.page import digits
from tag2mask.tasks.report.steps import Evaluated, Step

CERTAINTIES = 20
"""Rows of the table of the least certain labels."""


def least_certain(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The images and classes whose labels the evidences stand behind least, where that was measured."""
    tables = [path for step in steps if (path := step.folder / "confidence.csv").exists()]
    if not tables:
        return []
    table = read_columns(tables[-1], text=("image_id", "class"), rows=CERTAINTIES)
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    return [{name: None if value != value else value for name, value in zip(table, row, strict=True)} for row in rows]


@dataclass(frozen=True)
class Reliability:
    """Confidence beside the masks."""

    about: str
    chart: Markup
    per_class: Sequence[dict[str, Any]]


def reliability(evaluations: Sequence[Evaluated]) -> Reliability | None:
    """How far the confidence is off, as it is and calibrated; None where there are no masks to tell."""
    found = [e for e in evaluations if "calibration_error" in e.summary]
    if not found:
        return None
    scores, figures = found[-1].scores, found[-1].summary
    about = (
        f"Held against the masks, {figures['labels']} labels of {scores['images']} images have a mean confidence of "
        f"{digits(figures['mean_confidence'], 2)} and a mean IoU of {digits(figures['mean_iou'], 2)}: the expected "
        f"calibration error is {digits(figures['calibration_error'], 3)}, and "
        f"{digits(figures['calibrated_error'], 3)} when calibrated by other images."
    )
    columns = (np.array([row[key] for row in scores["bins"]], float) for key in ("confidence", "iou"))
    whole = np.array([0.0, 1.0])
    curves = [Curve("labels", *columns), Curve("calibrated perfectly", whole, whole)]
    return Reliability(about, curve_chart(curves, "confidence", "IoU"), scores["per_class"])
