"""Features of a backbone that is not trained, computed once for each batch that it is given.

What is remembered is known by the bytes of the batch and of the backbone's weights, and is kept as it was computed: a
training that finds it ends with the same weights as one that computes it again.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tag2mask.configs.schema import Segmenter
from tag2mask.tasks import train_segmenter
from tag2mask.tasks.networks import mask_inference
from tests.benchmarks.filled import filled


class Remembered:
    """Stands in the place of a backbone's forward pass.

    Args:
        backbone: with frozen weights and statistics.
        folder: where its features are kept, a few megabytes an image.
    """

    def __init__(self, backbone: nn.Module, folder: Path) -> None:
        self._backbone, self._compute, self._folder = backbone, backbone.forward, folder
        self._weights = b""

    def __call__(self, images: Tensor) -> list[Tensor]:
        """What the backbone gives for images (N, 3, H, W)."""
        name = hashlib.blake2b(images.contiguous().numpy().tobytes() + self._own_weights(), digest_size=16).hexdigest()
        place = filled(self._folder / name[:2] / name, lambda out: self._keep(out, images))
        files = sorted(place.glob("*.npy"))
        return [torch.from_numpy(np.load(file, allow_pickle=False)) for file in files]

    def _keep(self, out: Path, images: Tensor) -> None:
        with torch.no_grad():
            for number, features in enumerate(self._compute(images)):
                np.save(out / f"{number:02d}.npy", features.numpy(), allow_pickle=False)

    def _own_weights(self) -> bytes:
        """A digest, taken when the weights have been loaded, before the first batch."""
        if not self._weights:
            digest = hashlib.blake2b(digest_size=16)
            for _, values in sorted(self._backbone.state_dict().items()):
                digest.update(values.numpy().tobytes())
            self._weights = digest.digest()
        return self._weights


@contextmanager
def remembering(config: Segmenter, folder: Path) -> Iterator[None]:
    """Let trainings and predictions of segmenters with a frozen backbone share its features, below a folder."""
    build = train_segmenter.segmentation_network

    def built(*given: Any) -> Any:
        network = build(*given)
        backbone = network.segmenter.backbone
        backbone.forward = Remembered(backbone, folder)  # type: ignore[method-assign, assignment]
        return network

    with pytest.MonkeyPatch.context() as patch:
        if config.backbone_factor == 0 and config.backbone.freeze_batch_norm:
            patch.setattr(train_segmenter, "segmentation_network", built)
            patch.setattr(mask_inference, "segmentation_network", built)
        yield
