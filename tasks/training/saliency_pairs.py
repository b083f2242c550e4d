"""Batches of images with what is salient in them, and with superpixels where a loss compares regions."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.segmentation import slic

from tag2mask.configs.schema import Saliency
from tag2mask.tasks.dataset.images import read_rgb, resize
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.dataset.tables import read_table
from tag2mask.tasks.networks.checkpoints import DamagedFile, read_checked, write_checked
from tag2mask.tasks.store.journal import RESUME
from tag2mask.tasks.training.augmentation import mirror_and_rotate, mirror_and_rotate_regions
from tag2mask.tasks.training.loop import images_of_samples, seeded
from tag2mask.tasks.training.prefetch import DecodedImages, Prefetch

SUPERPIXELS = "superpixels"
COMPACTNESS = 10.0
"""Of SLIC: how much nearness counts against color (CIELAB)."""


@dataclass(frozen=True)
class PairSource:
    """Where pairs come from."""

    files: Sequence[tuple[Path, Path]]
    """Image and target (8-bit gray, 255 = salient, 0 = background) of each pair."""
    provenance: Provenance
    """Which masks are behind the targets."""
    unknown: int | None = None
    """Value of target pixels that teach nothing; None: there are none."""


def masked_source(folder: Path) -> PairSource:
    """The images and masks of an `index_saliency_set` artifact."""
    rows = read_table(folder / "index.csv")
    files = [(folder / row["file"], folder / "masks" / f"{row['image_id']}.png") for row in rows]
    return PairSource(files, Provenance.read(folder, otherwise="a saliency set that says nothing of itself"))


class SaliencyPairs:
    """Batches of augmented images with their targets and valid pixels.

    Args:
        source: the pairs.
        config: sizes, rotation, seed.
        samples_of_step: step -> running numbers of its images in the whole training.
        with_regions: step -> whether it needs superpixels.
        out: the stage's folder; superpixels are kept in its hidden part, which does not belong to the result.
    """

    def __init__(
        self,
        source: PairSource,
        config: Saliency,
        samples_of_step: Callable[[int], range],
        with_regions: Callable[[int], bool],
        out: Path,
    ) -> None:
        self._source = source
        self._config, self._samples, self._with_regions = config, samples_of_step, with_regions
        self._kept_regions = out / RESUME / SUPERPIXELS
        self._decoded = DecodedImages(self._decode)
        self.prefetch = Prefetch(self._load, config.iterations)

    def __len__(self) -> int:
        return len(self._source.files)

    def _decode(self, number: int) -> tuple[np.ndarray, ...]:
        """Image (S, S, 3), salience and, where the source has some, the share of unknown (S, S), all uint8."""
        image, target = self._source.files[number]
        side = (self._config.image_size, self._config.image_size)
        values = read_gray(target)
        if self._source.unknown is None:
            return resize(read_rgb(image), side), resize(values, side)
        shares = [np.where(values == value, 255, 0).astype(np.uint8) for value in (255, self._source.unknown)]
        return resize(read_rgb(image), side), *(resize(share, side) for share in shares)

    def _load(self, step: int) -> tuple[np.ndarray, ...]:
        """Images (N, S, S, 3) and masks (N, S, S), uint8, valid pixels (N, S, S) bool; superpixels (N, S, S) int32."""
        config, examples = self._config, []
        for sample, number in images_of_samples(self._samples(step), len(self), config.seed):
            pixels, mask, *unknown = self._decoded[number]
            image, salience, valid = mirror_and_rotate(pixels, mask, config.rotation, seeded(config.seed, sample, 1))
            for share in unknown:
                _, doubt, _ = mirror_and_rotate(pixels, share, config.rotation, seeded(config.seed, sample, 1))
                valid = valid & (doubt == 0)
            example: tuple[np.ndarray, ...] = (image, salience, valid)
            if self._with_regions(step):
                regions = self._regions(number, pixels)
                example += (mirror_and_rotate_regions(regions, config.rotation, seeded(config.seed, sample, 1)),)
            examples.append(example)
        return tuple(np.stack(part) for part in zip(*examples, strict=True))

    def _regions(self, number: int, pixels: np.ndarray) -> np.ndarray:
        """Superpixels of an image, made at the first sample and read back at the others."""
        path = self._kept_regions / str(number)
        try:
            with Image.open(io.BytesIO(read_checked(path)), formats=("PNG",)) as image:
                return np.array(image).astype(np.int32)
        except (FileNotFoundError, DamagedFile):  # none yet; or cut short by a crash: they are not forced to the disk
            regions = superpixels(pixels, self._config.purnet.superpixels)
        kept = io.BytesIO()
        Image.fromarray(regions.astype(np.uint16)).save(kept, format="PNG")
        write_checked(path, kept.getbuffer())
        return regions


def superpixels(pixels: np.ndarray, count: int) -> np.ndarray:
    """About `count` superpixels (SLIC) of (H, W, 3) uint8: their numbers from 0, (H, W) int32."""
    regions = slic(pixels, n_segments=count, compactness=COMPACTNESS, start_label=0, channel_axis=-1)
    return regions.astype(np.int32)  # type: ignore[no-any-return]
