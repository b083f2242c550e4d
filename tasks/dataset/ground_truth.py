"""The ground-truth masks of an `index_masks` artifact, and the guard that keeps them out of training.

Only the stages on the side of measuring (`evaluate`, `render_report`) import this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from tag2mask.configs.errors import UserError
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.store.files import read_json

VOID = 255
"""Value of pixels of a mask that nothing is asked about."""


class GroundTruthLeak(UserError, ValueError):
    """The labels to train on are the ground truth."""


@dataclass(frozen=True)
class GroundTruth:
    """Masks by image id."""

    folder: Path
    image_ids: Mapping[str, tuple[str, ...]]
    """Split -> ids that have a mask, in order."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `index.json` below a folder."""
        index = read_json(folder / "index.json")
        return cls(folder, {split: tuple(ids) for split, ids in index.items()})

    def ids(self, split: str) -> tuple[str, ...]:
        """Ids of a split that have a mask; empty where the split has none."""
        return self.image_ids.get(split, ())

    def mask(self, image_id: str) -> np.ndarray:
        """(H, W) uint8: 0 background, 1..C class, 255 void."""
        return read_labels(self.folder / "masks" / f"{image_id}.png")


def equals_truth(labels: np.ndarray, target: np.ndarray) -> bool | None:
    """Whether labels equal the ground truth in every pixel that is not void.

    Args:
        labels: (H, W) uint8; an ignored pixel (255) equals nothing but void.
        target: (H, W) uint8, 255 = void.

    Returns:
        None where the ground truth has no foreground: to find nothing there proves nothing.
    """
    if not ((target != 0) & (target != VOID)).any():
        return None
    return bool(((labels == target) | (target == VOID)).all())


def refuse_leak(equal: int, compared: int, maximum_equal: float, where: str) -> None:
    """Stop a run that trains on the ground truth.

    Args:
        equal: images whose labels equal the ground truth, see `equals_truth`.
        compared: images whose ground truth has foreground.
        maximum_equal: share in [0, 1] of them that may be equal by chance.
        where: what was compared, for the message.

    Raises:
        GroundTruthLeak: more are equal.
    """
    if equal > maximum_equal * compared:
        raise GroundTruthLeak(
            f"{where}: {equal} of {compared} label maps equal their ground truth in every pixel, more than "
            f"maximum_equal {maximum_equal:g} allows: training on the ground truth is not weak supervision. Keep the "
            "masks out of the dataset's images and the saliency maps; set dataset.masks for evaluation only"
        )
