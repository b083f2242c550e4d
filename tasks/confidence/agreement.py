"""How far the evidences stand behind a label: of each class of an image, and of each pixel."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LabelEvidence:
    """What is known of one image besides its labels, all (H, W)."""

    probabilities: np.ndarray
    """(K, H, W) float32 in [0, 1] of the segmenter."""
    classes: np.ndarray
    """(K,) uint8, their numbers, 0 among them."""
    cams: dict[int, np.ndarray]
    """Class number -> bool, where its class activation map is strong."""
    salient: np.ndarray
    """Bool."""
    refined: np.ndarray
    """uint8, the prediction after the CRF."""

    @cached_property
    def predicted(self) -> np.ndarray:
        """(H, W) uint8, the segmenter's own choice."""
        return np.asarray(self.classes[self.probabilities.argmax(axis=0)])

    def probability(self, number: int) -> np.ndarray:
        """(H, W) float32 of a class; 0 where the segmenter was not asked for it."""
        found = np.flatnonzero(self.classes == number)
        return self.probabilities[found[0]] if found.size else np.zeros(self.refined.shape, np.float32)


def class_confidence(labels: np.ndarray, number: int, evidence: LabelEvidence) -> dict[str, Any]:
    """Figures of one class of an image; `confidence` is their mean, and 0 where a tag has no pixel.

    Args:
        labels: (H, W) uint8, 255 ignored; an ignored pixel speaks neither for nor against anything.
        number: of the class.
        evidence: of the image.

    Returns:
        pixels; probability, the segmenter's mean in the region; saliency, the region's salient share; cam, prediction
        and crf, the IoU of the region with theirs; all in [0, 1], None where the region is empty.
    """
    region, counted = labels == number, labels != 255
    pixels = int(region.sum())
    names = ("probability", "saliency", "cam", "prediction", "crf")
    if not pixels:
        return {"pixels": 0, **dict.fromkeys(names), "confidence": 0.0}
    others = (
        evidence.cams.get(number, np.zeros_like(region)),
        evidence.predicted == number,
        evidence.refined == number,
    )
    figures = (
        float(evidence.probability(number)[region].mean()),
        float(evidence.salient[region].mean()),
        *(float((region & other).sum() / (region | other & counted).sum()) for other in others),
    )
    return {"pixels": pixels, **dict(zip(names, figures, strict=True)), "confidence": float(np.mean(figures))}


def pixel_confidence(labels: np.ndarray, evidence: LabelEvidence) -> np.ndarray:
    """(H, W) uint8: how far probability, prediction, CRF and saliency stand behind a pixel's label; 0 if ignored."""
    own = np.zeros(labels.shape, np.float32)
    for number in np.unique(labels).tolist():
        own = np.where(labels == number, evidence.probability(number), own)
    agree = [evidence.predicted == labels, evidence.refined == labels, evidence.salient == (labels != 0)]
    mean = (own + np.sum(agree, axis=0)) / 4
    return np.asarray(np.where(labels == 255, 0, np.round(255 * mean)), np.uint8)
