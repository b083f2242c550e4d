"""Score a step's saliency maps against the ground-truth masks: the field's measures of all images and of each."""

from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.tasks.dataset.ground_truth import VOID
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.metrics.enhanced_alignment import EnhancedAlignment
from tag2mask.tasks.metrics.saliency import MAE, SaliencyFMeasure
from tag2mask.tasks.metrics.step_scores import StepFiles, StepScores
from tag2mask.tasks.metrics.structure_measure import StructureMeasure
from tag2mask.tasks.metrics.weighted_f_measure import WeightedFMeasure
from tag2mask.tasks.store.runtime import StageRuntime

PER_IMAGE = ("mae", "s_measure", "adaptive_e", "adaptive_f", "weighted_f")
"""Figures that a single image has."""


class SaliencyMeasures:
    """All measures of saliency maps against masks with void pixels.

    Void pixels change nothing, whatever the map says there.  Error, E and F are counts of pixels: void ones are
    dropped.  S and weighted F need the image whole: void pixels are background on which the map is right.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.error, self.f = MAE(), SaliencyFMeasure()
        self.alignment = EnhancedAlignment()
        self.structure, self.weighted = StructureMeasure(), WeightedFMeasure()

    def step(self, saliency: np.ndarray, salient: np.ndarray, measured: np.ndarray) -> None:
        """Add one image.

        Args:
            saliency: (H, W) uint8.
            salient: (H, W) bool.
            measured: (H, W) bool, False at void pixels; one at least is True.

        Raises:
            ValueError: shapes or types that do not fit.
        """
        if saliency.shape != salient.shape:
            raise ValueError(
                f"the saliency map has shape {saliency.shape}, the mask {salient.shape}; they must be equal: "
                "make the map at the size of its image"
            )
        for counted in (self.error, self.f, self.alignment):
            counted.step(saliency[measured][None], salient[measured][None])  # (H, W) -> (1, measured pixels)
        for whole in (self.structure, self.weighted):
            whole.step(np.where(measured, saliency, 0).astype(saliency.dtype), salient & measured)

    def merge(self, other: "SaliencyMeasures") -> None:
        """Take over the images of another one, behind one's own."""
        self.error.merge(other.error)
        self.f.merge(other.f)
        self.alignment.merge(other.alignment)
        self.structure.merge(other.structure)
        self.weighted.merge(other.weighted)

    def summary(self) -> dict[str, float]:
        """The figures of all images so far.

        Raises:
            ValueError: no image yet.
        """
        figures = {"mae": self.error.result(), "s_measure": self.structure.result()}
        for name, curve in (("e", self.alignment.result()), ("f", self.f.result())):
            figures |= {f"max_{name}": curve.maximum, f"mean_{name}": curve.mean, f"adaptive_{name}": curve.adaptive}
        return figures | {"weighted_f": self.weighted.result()}


def measure_saliency(files: StepFiles, image_id: str) -> SaliencyMeasures | None:
    """Measure one map against "any class"; None where the mask is nothing but void."""
    saliency, target = read_gray(files.path(image_id)), files.truth.mask(image_id)
    measured = target != VOID
    if not measured.any():
        return None
    measures = SaliencyMeasures()
    measures.step(saliency, (target != 0) & measured, measured)
    return measures


def score_saliency(files: StepFiles, out: Path, runtime: StageRuntime) -> StepScores:
    """Score saliency maps against "any class"; images that are nothing but void are counted and left out.

    Raises:
        ValueError: a map that does not fit its mask, or masks that are nothing but void.
    """
    total, rows = SaliencyMeasures(), []
    for image_id, measures in files.each(measure_saliency, out, runtime):
        row: dict[str, Any] = {"image_id": image_id} | dict.fromkeys(PER_IMAGE)
        if measures is not None:
            total.merge(measures)
            figures = measures.summary()
            row |= {name: figures[name] for name in PER_IMAGE}
        rows.append(row)
    summary, f = total.summary(), total.f.result()
    void = {"images_all_void": len(rows) - f.images, "images_without_foreground": f.empty_targets}
    return StepScores(summary, {"curve": f.curve, "e_curve": total.alignment.result().curve, **void}, rows)
