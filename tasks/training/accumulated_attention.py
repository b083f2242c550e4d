"""Online accumulation of class attention during a classifier's training (OAA, as NSROM uses it in stage A)."""

from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tag2mask.configs.errors import UserError
from tag2mask.tasks.dataset.arrays import read_arrays, write_arrays
from tag2mask.tasks.dataset.image_index import ImageIndex

FILE = "accumulated_attention.npz"


class LacksImages(UserError, ValueError):
    """The classifier has not seen all images that are to be trained on, or with other tags; the message counts them."""


class AttentionAccumulator:
    """One 8-bit map per (image, tag), the maximum over the epochs, kept in memory.

    Args:
        tags: (images, C), 1 where an image has the class.
        side: height and width of the maps, in cells.
        probability: a class's attention enters only while the classifier gives it at least this probability, except in
            the last epoch for a pair that has no map yet.
    """

    def __init__(self, tags: np.ndarray, side: tuple[int, int], probability: float) -> None:
        self.pairs = np.argwhere(tags > 0)  # (P, 2): image, class from 0
        self.row = {(int(image), int(c)): row for row, (image, c) in enumerate(self.pairs)}
        self.maps = torch.zeros((len(self.pairs), *side), dtype=torch.uint8)
        self.seen = torch.zeros(len(self.pairs), dtype=torch.bool)
        self.probability = probability

    def add(self, images: list[int], logits: Tensor, maps: Tensor, *, last_epoch: bool) -> None:
        """Take the maximum with the attention of one batch.

        Args:
            images: N image numbers.
            logits: (N, C).
            maps: (N, C, h, w) raw class maps of the same forward pass.
            last_epoch: whether a pair without a map gets one whatever its probability.
        """
        probabilities = logits.detach().float().sigmoid().cpu()
        positive = maps.detach().float().relu().cpu()
        for position, image in enumerate(images):
            for c in range(positive.shape[1]):
                row = self.row.get((image, c))
                if row is None:
                    continue
                fresh = last_epoch and not bool(self.seen[row])
                if probabilities[position, c] < self.probability and not fresh:
                    continue
                attention = positive[position, c]
                attention = (attention / (attention.max() + 1e-8) * 255).round().to(torch.uint8)
                self.maps[row] = torch.maximum(self.maps[row], attention)
                self.seen[row] = True

    def state(self) -> dict[str, Tensor]:
        """Tensors to keep in a checkpoint."""
        return {"maps": self.maps, "seen": self.seen}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        self.maps.copy_(state["maps"])
        self.seen.copy_(state["seen"])

    def save(self, folder: Path, image_ids: tuple[str, ...]) -> None:
        """Write the maps with the image id and class number (1..C) of each."""
        write_arrays(
            folder / FILE,
            maps=self.maps.numpy(),
            image_ids=np.array([image_ids[image] for image, _ in self.pairs]),
            numbers=(self.pairs[:, 1] + 1).astype(np.uint8),
        )


class AccumulatedAttention:
    """The maps of a finished accumulation, by image."""

    def __init__(self, maps: np.ndarray, image_ids: np.ndarray, numbers: np.ndarray) -> None:
        self.maps = maps
        self.rows: dict[str, list[tuple[int, int]]] = {}
        for row, (image_id, number) in enumerate(zip(image_ids, numbers, strict=True)):
            self.rows.setdefault(str(image_id), []).append((row, int(number)))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `AttentionAccumulator.save` wrote."""
        found = read_arrays(folder / FILE)
        return cls(found["maps"], found["image_ids"], found["numbers"])

    def require(self, index: ImageIndex, folder: Path) -> None:
        """Refuse images that the classifier in a folder was not trained on, or had other tags then.

        Raises:
            LacksImages: names how many and the first of them.
        """
        known = {image_id: {number for _, number in rows} for image_id, rows in self.rows.items()}
        missing = [image.image_id for image in index if image.image_id not in known]
        changed = [image.image_id for image in index if known.get(image.image_id, set(image.tags)) != set(image.tags)]
        for what, images in (("lacks", missing), ("has other tags for", changed)):
            if images:
                raise LacksImages(
                    f"{folder / FILE}: {what} {len(images)} of {len(index)} training images, the first is {images[0]}: "
                    "they were added or changed after the classifier was trained; train it, too: run without "
                    "--retrain never"
                )

    def target(self, image_ids: list[str], classes: int) -> Tensor:
        """(N, C, h, w) float32 in [0, 1]; zero planes for classes an image does not have."""
        target = torch.zeros((len(image_ids), classes, *self.maps.shape[1:]))
        for position, image_id in enumerate(image_ids):
            for row, number in self.rows[image_id]:
                target[position, number - 1] = torch.from_numpy(self.maps[row]).float() / 255
        return target
