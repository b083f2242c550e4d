"""Targets of saliency without masks: what saliency and class maps agree on, for a network to learn from.

A target is an 8-bit gray image of the image's size: 0 background, 255 salient, 128 nobody knows.
"""

from pathlib import Path

import numpy as np

from tag2mask.configs.errors import UserError
from tag2mask.configs.schema import SelfTraining
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.training.saliency_pairs import PairSource

SALIENT = 255
UNKNOWN = 128
BACKGROUND = 0


class NothingAgreed(UserError, ValueError):
    """No image has a pixel to learn from; the message says what to change."""

    def __init__(self, images: int) -> None:
        super().__init__(
            f"saliency and CAMs agree on no pixel of {images} images; lower self_training.saliency_foreground, "
            "cam_foreground or minimum_foreground"
        )


def agreed_target(saliency: np.ndarray, cams: np.ndarray, config: SelfTraining) -> np.ndarray:
    """What saliency and class maps agree on.

    Args:
        saliency: (H, W) uint8.
        cams: (K, H, W) in [0, 1], the maps of the image's tags; without any tag there is no class evidence.
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


def agreed_source(dataset: Path, targets: Path) -> PairSource:
    """The training images with their targets, without those of which nothing is known.

    Args:
        dataset: `index_dataset` artifact.
        targets: `make_saliency_pseudo_labels` artifact.

    Raises:
        NothingAgreed: nothing is known of any image.
        FileNotFoundError: an image has no target.
    """
    index = ImageIndex.read(dataset).split("train")
    files = [(index.folder / record.file, targets / f"{record.image_id}.png") for record in index]
    known = [(image, target) for image, target in files if (read_gray(target) != UNKNOWN).any()]
    if not known:
        raise NothingAgreed(len(files))
    return PairSource(known, Provenance("none: tags and a prior alone", "no", 0), unknown=UNKNOWN)
