"""Targets of saliency without masks: what saliency and class maps agree on, and the pairs that a network learns from.

A target is an 8-bit grey image of the photograph's size: 0 background, 255 salient, 128 nobody knows.
"""

from pathlib import Path

import numpy as np

from tag2mask.configs.schema import Saliency, SelfTraining
from tag2mask.tasks.common.augmentation import mirror_and_rotate
from tag2mask.tasks.common.image_index import ImageIndex
from tag2mask.tasks.common.label_images import read_grey
from tag2mask.tasks.common.photographs import read_rgb, resize
from tag2mask.tasks.common.prefetch import DecodedImages, Prefetch
from tag2mask.tasks.common.training import indices_of_step, seeded

SALIENT = 255
UNKNOWN = 128
BACKGROUND = 0


class NothingAgreed(ValueError):
    """No photograph has a pixel to learn from; the message says what to change."""

    def __init__(self, images: int) -> None:
        super().__init__(
            f"saliency and CAMs agree on no pixel of {images} photographs; lower self_training.saliency_foreground, "
            "cam_foreground or minimum_foreground"
        )


def agreed_target(saliency: np.ndarray, cams: np.ndarray, config: SelfTraining) -> np.ndarray:
    """What saliency and class maps agree on.

    Args:
        saliency: (H, W) uint8.
        cams: (K, H, W) in [0, 1], the maps of the photograph's tags; without any tag there is no class evidence.
        config: thresholds.

    Returns:
        (H, W) uint8: 0 background, 255 salient, 128 unknown; all unknown where too little is salient.
    """
    soft, evidence = saliency / 255, cams.max(axis=0, initial=0)
    salient = (soft > config.saliency_foreground) & (evidence > config.cam_foreground)
    background = (soft < config.saliency_background) & (evidence < config.cam_background)
    if salient.mean() < config.minimum_foreground:
        return np.full(saliency.shape, UNKNOWN, np.uint8)
    target: np.ndarray = np.select([salient, background], [SALIENT, BACKGROUND], UNKNOWN).astype(np.uint8)
    return target


class AgreedPairs:
    """Batches of augmented photographs with targets and known pixels, without photographs that nothing is known of.

    Raises:
        NothingAgreed: nothing is known of any photograph.
        FileNotFoundError: a photograph has no target.
    """

    def __init__(self, dataset: Path, targets: Path, config: Saliency) -> None:
        index = ImageIndex.read(dataset).split("train")
        files = [(index.folder / record.file, targets / f"{record.image_id}.png") for record in index]
        self._files = [(image, target) for image, target in files if (read_grey(target) != UNKNOWN).any()]
        if not self._files:
            raise NothingAgreed(len(files))
        self._config = config
        self._decoded = DecodedImages(self._decode)
        self.prefetch = Prefetch(self._load, config.iterations)

    def __len__(self) -> int:
        return len(self._files)

    def _decode(self, number: int) -> tuple[np.ndarray, ...]:
        """Photograph (S, S, 3), share of salience and share of the unknown in each pixel, (S, S) each, all uint8."""
        image, target = self._files[number]
        side = (self._config.image_size, self._config.image_size)
        values = read_grey(target)
        shares = [np.where(values == value, 255, 0).astype(np.uint8) for value in (SALIENT, UNKNOWN)]
        return resize(read_rgb(image), side), resize(shares[0], side), resize(shares[1], side)

    def _load(self, step: int) -> tuple[np.ndarray, ...]:
        """Images (N, S, S, 3), masks (N, S, S), both uint8, and known pixels (N, S, S) bool."""
        config, examples = self._config, []
        for visit, number in indices_of_step(step, config.batch_size, len(self), config.seed):
            pixels, mask, unknown = self._decoded[number]
            image, salient, valid = mirror_and_rotate(pixels, mask, config.rotation, seeded(config.seed, visit, 1))
            _, doubt, _ = mirror_and_rotate(pixels, unknown, config.rotation, seeded(config.seed, visit, 1))
            examples.append((image, salient, valid & (doubt == 0)))
        images, masks, known = zip(*examples, strict=True)
        return np.stack(images), np.stack(masks), np.stack(known)
