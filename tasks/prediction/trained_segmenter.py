"""A trained segmenter as its users see it: an image in; labels, shares, confidence and probabilities out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tag2mask.configs.schema import Dataset, MaskPrediction, Refinement, Segmenter
from tag2mask.tasks.algorithms.dense_crf import refine_present
from tag2mask.tasks.dataset.arrays import enlarged
from tag2mask.tasks.dataset.images import read_image
from tag2mask.tasks.networks.mask_inference import (
    LoadedSegmenter,
    at_scales,
    kept_scores,
    load_segmenter,
    most_probable,
    segment,
)
from tag2mask.tasks.networks.model_folder import WeightsError

MAXIMUM_MEGAPIXELS: float = Dataset.model_fields["maximum_megapixels"].default
"""Larger images are refused, as in a dataset."""


@dataclass(frozen=True)
class Prediction:
    """What a segmenter says of one image of H x W pixels."""

    labels: np.ndarray
    """(H, W) uint8: 0 background, 1..C class."""
    shares: dict[str, float]
    """Class -> share of the pixels in [0, 1], the largest first; classes without a pixel, and the background, are not
    there."""
    confidence: float
    """Mean over the pixels of the network's probability of the class that they are given, in [0, 1]."""
    scores: np.ndarray
    """(K, h, w) float16 probabilities of the classes found, on the network's grid."""
    numbers: np.ndarray
    """(K,) uint8: the class of each plane of `scores`, 0 the background."""
    classes: tuple[str, ...]
    """Names of the classes 1..C."""

    def probabilities(self) -> np.ndarray:
        """(C + 1, H, W) float32 in [0, 1], plane 0 the background; zero for classes below 1 % everywhere."""
        full = np.zeros((len(self.classes) + 1, *self.labels.shape), np.float32)
        full[self.numbers] = enlarged(self.scores, (self.labels.shape[0], self.labels.shape[1]))
        return full


class TrainedSegmenter:
    """Applies a segmenter to images.

    Args:
        loaded: the network.
        device: where it is, `cpu` or `cuda`.
        prediction: size, scales, mirroring.
        refinement: constants of the dense CRF; None leaves it out.
    """

    def __init__(
        self,
        loaded: LoadedSegmenter,
        device: str = "cpu",
        prediction: MaskPrediction | None = None,
        refinement: Refinement | None = None,
    ) -> None:
        self.network, self.classes, self.device = loaded.network, loaded.classes, device
        self.least_side = loaded.least_side
        self.prediction = prediction or default_prediction(loaded.settings)
        self.refinement = refinement

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        device: str = "cpu",
        prediction: MaskPrediction | None = None,
        refinement: Refinement | None = None,
    ) -> Self:
        """Load a model folder (`model.pt`, `model.json`).

        Args:
            folder: an artifact of `train_segmenter` or `deliver_round`, or a copy of it.
            device: `cpu` or `cuda`.
            prediction: size, scales, mirroring; None: once, at the size of the training.
            refinement: constants of the dense CRF, `Refinement()` for the published ones; None leaves it out.

        Raises:
            WeightsError: it is no segmenter, or damaged.
        """
        return cls(load_segmenter(Path(folder), device), device, prediction, refinement)

    def predict(self, image: np.ndarray | Path | str) -> Prediction:
        """Predict one image.

        Args:
            image: (H, W, 3) uint8 RGB, or an image file.

        Raises:
            BadImage: the file cannot be read.
            ValueError: an array of another shape or type.
        """
        pixels = image if isinstance(image, np.ndarray) else read_pixels(Path(image))
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
        size = (pixels.shape[0], pixels.shape[1])
        return self.finished(size, self.scores([self.at_scales(pixels)])[0], pixels)

    def at_scales(self, pixels: np.ndarray) -> list[np.ndarray]:
        """An image (H, W, 3) uint8 at the scales at which it is predicted."""
        return at_scales(pixels, self.prediction, self.least_side)

    def scores(self, images: Sequence[Sequence[np.ndarray]]) -> Tensor:
        """Class probabilities (N, C + 1, h, w) float32 of N images, of each of which `at_scales` is given."""
        with torch.inference_mode():
            return segment(self.network, images, flip=self.prediction.flip, device=self.device)

    def finished(self, size: tuple[int, int], scores: Tensor, pixels: np.ndarray | None) -> Prediction:
        """What follows from the probabilities of one image.

        Args:
            size: (height, width) of the image.
            scores: (C + 1, h, w) float32.
            pixels: (H, W, 3) uint8 RGB; read by the CRF alone.

        Raises:
            WeightsError: the network gives no numbers.
        """
        with torch.inference_mode():
            chosen, highest = most_probable(scores, size)
            kept, numbers = kept_scores(scores)
            labels, confidence = chosen.cpu().numpy(), float(highest.mean())
        if not np.isfinite(confidence):
            raise WeightsError("the network gives no numbers (NaN): its weights are damaged; take another model")
        if self.refinement is not None and pixels is not None:
            probabilities = enlarged(kept, size)
            labels = refine_present(pixels, probabilities, numbers, self.refinement)
            plane = np.zeros(256, np.intp)
            plane[numbers] = np.arange(len(numbers))
            confidence = float(np.take_along_axis(probabilities, plane[labels][None], 0).mean())
        return Prediction(labels, self._shares(labels), confidence, kept, numbers, self.classes)

    def _shares(self, labels: np.ndarray) -> dict[str, float]:
        counts = np.bincount(labels.ravel(), minlength=len(self.classes) + 1)[1:]
        order = [number for number in np.argsort(-counts, kind="stable").tolist() if counts[number]]
        return {self.classes[number]: counts[number] / labels.size for number in order}


def default_prediction(settings: Segmenter) -> MaskPrediction:
    """How a segmenter is applied where nobody says: once, at the size of its training."""
    return MaskPrediction(image_size=settings.image_size)


def read_pixels(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file of unknown origin, upright.

    Raises:
        BadImage: it cannot be read.
    """
    return read_image(path, maximum_megapixels=MAXIMUM_MEGAPIXELS).pixels
