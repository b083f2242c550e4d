"""Saliency as class maps learn it: of the images of each step, on the grid of the maps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.training.prefetch import DecodedImages, Prefetch


@contextmanager
def saliency_targets(
    folder: Path | None,
    image_ids: Sequence[str],
    steps: Sequence[Sequence[tuple[int, int]]],
    side: tuple[int, int],
    device: str,
) -> Iterator[Callable[[int], Tensor] | None]:
    """What class maps learn from saliency.

    Args:
        folder: with `saliency/<id>.png` (H, W) uint8, 255 = salient; None: they learn nothing from it.
        image_ids: of the training.
        steps: for every step its (sample, image number) pairs.
        side: height and width of the class maps, in cells.
        device: where the targets go.

    Yields:
        step -> (N, h, w) float32 in [0, 1], in the images' own frame, not mirrored; None without a folder.
    """
    if folder is None:
        yield None
        return
    maps = DecodedImages(lambda number: (resize(read_gray(folder / "saliency" / f"{image_ids[number]}.png"), side),))

    def load(step: int) -> np.ndarray:
        return np.stack([maps[number][0] for _, number in steps[step]])

    with closing(Prefetch(load, len(steps))) as prefetch:
        yield lambda step: torch.from_numpy(prefetch(step)).to(device).float() / 255
