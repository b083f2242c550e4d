"""Confidence held against masks: how far it is off, and the calibration that would bring it there.

What a confidence predicts is the IoU of an image's region of a class with the mask's, as for object detectors in
Kuzucu et al., "On Calibration of Object Detectors" (ECCV 2024): among labels of confidence p the mean IoU should be p.

- Its error is the expected calibration error of equally wide bins (Naeini et al., AAAI 2015; Guo et al., ICML 2017).
- The calibration is an isotonic regression (Zadrozny and Elkan, KDD 2002), which keeps the order of the images.  It is
  fitted to the labels of all classes together, since a class has few; its error is measured on images that it was not
  fitted to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import isotonic_regression

BINS = 10
"""Of equal width, over [0, 1]."""
FOLDS = 5
"""Parts of the images, each of which is calibrated by what the others say."""


@dataclass(frozen=True)
class Calibration:
    """A rising line from confidence to the IoU that is to be expected."""

    confidences: np.ndarray
    """(K,) float64, rising."""
    expected: np.ndarray
    """(K,) float64 at these, never falling."""

    @classmethod
    def fitted(cls, confidences: np.ndarray, outcomes: np.ndarray) -> Self:
        """The line of least squares among those that never fall.

        Args:
            confidences: (N,) in [0, 1], N at least 1.
            outcomes: (N,) in [0, 1], the IoU of each.
        """
        values, places, counts = np.unique(confidences, return_inverse=True, return_counts=True)
        means = np.bincount(places, outcomes) / counts
        return cls(values, np.asarray(isotonic_regression(means, weights=counts).x))

    def __call__(self, confidences: np.ndarray) -> np.ndarray:
        """(N,) expected IoU at (N,) confidences; between two that were seen a straight line, beyond them the last."""
        return np.asarray(np.interp(confidences, self.confidences, self.expected))


def cross_calibrated(confidences: np.ndarray, outcomes: np.ndarray, images: Sequence[str]) -> np.ndarray | None:
    """Calibrated confidences, those of an image by a calibration that did not see it.

    Args:
        confidences: (N,) in [0, 1].
        outcomes: (N,) in [0, 1].
        images: N ids; labels of one image stay together.

    Returns:
        (N,); None where there are fewer images than folds.
    """
    names, numbers = np.unique(np.asarray(images, dtype=str), return_inverse=True)
    if len(names) < FOLDS:
        return None
    calibrated = np.zeros(len(confidences))
    for fold in range(FOLDS):
        inside = numbers % FOLDS == fold
        calibrated[inside] = Calibration.fitted(confidences[~inside], outcomes[~inside])(confidences[inside])
    return calibrated


def reliability(confidences: np.ndarray, outcomes: np.ndarray) -> Iterator[dict[str, Any]]:
    """Each bin that is not empty: its number of labels, and their mean confidence and outcome."""
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    for number in np.unique(bins).tolist():
        inside = bins == number
        means = {"confidence": float(confidences[inside].mean()), "iou": float(outcomes[inside].mean())}
        yield {"from": number / BINS, "to": (number + 1) / BINS, "labels": int(inside.sum()), **means}


def calibration_error(confidences: np.ndarray, outcomes: np.ndarray) -> float:
    """Expected calibration error in [0, 1]: what bins are off, weighted by their labels; 0 without any."""
    rows = reliability(confidences, outcomes)
    return float(sum(row["labels"] * abs(row["confidence"] - row["iou"]) for row in rows) / max(1, len(confidences)))
