"""Features of a backbone that is not trained: computed once for a few copies of each image, read in every epoch.

`<id>.npy` holds (copies, h, w, C) float16, an image's copies: the first as it is, the others with a color jitter each;
where images are mirrored in training, every second one is.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tag2mask.configs.schema import Classifier
from tag2mask.models.backbones import Backbone
from tag2mask.tasks.dataset.arrays import map_array
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.executors.images import process_images
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.store.files import NoRoomOnDisk, write_file
from tag2mask.tasks.store.runtime import NothingEarlier, StageRuntime
from tag2mask.tasks.training.augmentation import jitter_colors
from tag2mask.tasks.training.loop import autocast, seeded

LARGEST = float(np.finfo(np.float16).max)
ROOM = 1.1
"""Share of what the features take that has to be free, for file system and journal."""


class PassedOn(Backbone):
    """Stands where a backbone stands and takes its deepest features (N, C, h, w) in the place of images."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone.name, backbone.channels[-1:], backbone.strides[-1:])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give back what was given."""
        return [images]


class FrozenFeatures:
    """The features of all images of a training, in a folder.

    Args:
        backbone: in evaluation mode on the runtime's device.
        config: size, copies, jitter and mirroring, and seed.
        folder: belongs to these features alone.
    """

    def __init__(self, backbone: Backbone, config: Classifier, folder: Path) -> None:
        self._backbone, self._config, self._folder = backbone, config, folder

    def compute(self, index: ImageIndex, runtime: StageRuntime) -> None:
        """Write the features of all images; those below the folder that are still what was written are left out.

        Raises:
            NoRoomOnDisk: they do not fit.
        """
        records = {record.image_id: number for number, record in enumerate(index)}

        def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
            for image_id in image_ids:
                number = records[image_id]
                copies = self._copies(index.pixels(index.records[number]), number)
                features = self._extract(copies, runtime)
                yield image_id, [self._write(image_id, features)]

        def report(done: int, total: int, note: str) -> None:
            runtime.report(done, total, note or "features")

        self._check_room(index, runtime)
        alone = dataclasses.replace(runtime, report=report, earlier=NothingEarlier())
        process_images(list(index.ids), self._folder, process, alone)

    def read(self, image_id: str, copy: int) -> np.ndarray:
        """(h, w, C) float16, the features of one copy of an image."""
        return np.asarray(map_array(self._folder / f"{image_id}.npy")[copy])

    def is_mirrored(self, copy: int) -> bool:
        """Whether a copy is mirrored."""
        return self._config.flip and copy % 2 == 1

    def _copies(self, pixels: np.ndarray, number: int) -> list[np.ndarray]:
        """(S, S, 3) uint8 each: the copies of an image (H, W, 3)."""
        side = (self._config.image_size, self._config.image_size)
        whole = resize(pixels, side)
        made = []
        for copy in range(self._config.feature_copies):
            rng = seeded(self._config.seed, number, copy, 4)
            jittered = jitter_colors(whole, self._config.jitter, rng) if copy else whole
            made.append(jittered[:, ::-1] if self.is_mirrored(copy) else jittered)
        return made

    def _extract(self, copies: list[np.ndarray], runtime: StageRuntime) -> Tensor:
        """(copies, C, h, w) float16.

        An image's copies are a batch of their own: in others the last digits might differ after a resumption.
        """
        with torch.inference_mode(), autocast(runtime.precision, runtime.device):
            features: Tensor = self._backbone(to_batch(copies, runtime.device))[-1]
        return features.float().clamp(-LARGEST, LARGEST).half().cpu()

    def _write(self, image_id: str, features: Tensor) -> Path:
        path = self._folder / f"{image_id}.npy"
        array = features.permute(0, 2, 3, 1).contiguous().numpy()  # (copies, C, h, w) -> (copies, h, w, C)
        write_file(path, lambda file: np.save(file, array, allow_pickle=False))
        return path

    def _check_room(self, index: ImageIndex, runtime: StageRuntime) -> None:
        """Refuse at once what would fill the disk after hours."""
        side = self._config.image_size
        one = self._extract([np.zeros((side, side, 3), np.uint8)], runtime)
        self._folder.mkdir(parents=True, exist_ok=True)
        present = sum(path.stat().st_size for path in self._folder.glob("*.npy"))
        needed = one.numel() * 2 * self._config.feature_copies * len(index) * ROOM - present
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise NoRoomOnDisk(
                f"{self._folder}: the backbone's features take {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free: "
                f"make room, or lower feature_copies ({self._config.feature_copies}; 0 keeps none)"
            )
