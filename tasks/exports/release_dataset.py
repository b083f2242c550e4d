"""A release as a dataset of torch, so that any training can start from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tag2mask.tasks.exports.released_images import ReleasedImages, read_release

Transform = Callable[[Tensor, Tensor], Any]


class ReleaseDataset(Dataset[Any]):
    """Images with their labels, in the order of the release; works in the workers of a `DataLoader`.

    An item is (image, labels): (3, H, W) uint8 RGB, and (H, W) int64 with 0 background, 1..C class and 255 for pixels
    that train nothing (`cross_entropy(..., ignore_index=255)`); or what the transform makes of the two.

    Args:
        release: what `read_release` gives, or the release's folder.
        transform: takes (image, labels) and returns the item; crop or resize in it, since images differ in size.
    """

    def __init__(self, release: ReleasedImages | Path | str, transform: Transform | None = None) -> None:
        self.release = release if isinstance(release, ReleasedImages) else read_release(release)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.release)

    def __getitem__(self, index: int) -> Any:
        """The item of a number, 0 to len - 1.

        Raises:
            IndexError: there is none.
            NoImagesHere: its image is not there.
        """
        image_id = self.release.ids[index]
        image = torch.from_numpy(self.release.image(image_id)).permute(2, 0, 1).contiguous()  # (H, W, 3) -> (3, H, W)
        labels = torch.from_numpy(self.release.labels(image_id)).long()
        return (image, labels) if self.transform is None else self.transform(image, labels)
