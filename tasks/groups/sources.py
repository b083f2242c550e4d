"""What a group system is trained on: tagged images with pseudo targets, or a folder of groups with masks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tag2mask.configs.schema import Cosaliency, PseudoTargets
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import find_images, read_image, resize
from tag2mask.tasks.dataset.ingest import BadDataset, look_alikes, named
from tag2mask.tasks.dataset.label_maps import IGNORE, SALIENT_ABOVE, read_gray

MAXIMUM_MEGAPIXELS = 178.0
"""Of an image of a folder of groups; Pillow's own limit."""

Decoded = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Pixels (S, S, 3) uint8, saliency (S, S) uint8, and for each of the image's groups in order a target (S, S) uint8:
0 background, 1 the object that the group shares, 255 ignored."""


@dataclass(frozen=True)
class GroupSource:
    """Images and the groups that they belong to."""

    names: tuple[str, ...]
    """Of the groups 1..C."""
    tags: tuple[tuple[int, ...], ...]
    """Numbers of each image's groups, rising."""
    decode: Callable[[int], Decoded]
    """Reads an image by its position."""
    origin: str
    """What the targets were made of, for messages."""

    def __len__(self) -> int:
        return len(self.tags)


def tagged_source(index: ImageIndex, config: Cosaliency, *, saliency: Path, cams: Path) -> GroupSource:
    """The images of an index, with pseudo targets where saliency and CAM agree.

    Args:
        index: images to train on.
        config: size and thresholds.
        saliency: folder with saliency/<id>.png.
        cams: folder with <id>.npz of CAM.
    """
    side = (config.image_size, config.image_size)

    def decode(position: int) -> Decoded:
        record = index.records[position]
        pixels = resize(index.pixels(record), side)
        salient = resize(read_gray(saliency / "saliency" / f"{record.image_id}.png"), side)
        maps, numbers = read_class_maps(cams / f"{record.image_id}.npz", side)
        ranks = {number: rank for rank, number in enumerate(numbers.tolist())}
        planes = maps[[ranks[number] for number in record.tags]]
        return pixels, salient, pseudo_targets(salient, planes, config.targets)

    tags = tuple(record.tags for record in index)
    return GroupSource(index.classes, tags, decode, "saliency and CAM by the thresholds of cosaliency.targets")


def pseudo_targets(saliency: np.ndarray, cams: np.ndarray, settings: PseudoTargets) -> np.ndarray:
    """Where saliency and CAM agree on an object of a tag, and where on none.

    Args:
        saliency: (H, W) uint8, 255 = salient.
        cams: (K, H, W) floating in [0, 1], of all K tags of the image.
        settings: thresholds.

    Returns:
        (K, H, W) uint8: 0 background, 1 object of the tag, 255 ignored.
    """
    soft = saliency / 255
    found = (soft > settings.salient) & (cams > settings.cam)  # (H, W), (K, H, W) -> (K, H, W)
    targets = np.full(cams.shape, IGNORE, np.uint8)
    targets[:, (soft < settings.unsalient) & (cams < settings.no_cam).all(0)] = 0
    if settings.rivals:
        for number in range(len(cams)):
            others = np.delete(found, number, axis=0).any(0)
            targets[number][others & (cams[number] < settings.no_cam)] = 0
    targets[found] = 1
    return targets


def masked_source(folder: Path, config: Cosaliency) -> GroupSource:
    """A folder of groups with masks: `images/<group>/x.jpg`, `masks/<group>/x.png`; `saliency/<group>/x.png` if read.

    Raises:
        BadDataset: no group, or images without a mask (or saliency map); a file that does not fit its image
            is found on reading.
        FileNotFoundError: a folder is missing.
    """
    kinds = ("masks", "saliency") if config.reads_saliency else ("masks",)
    names = tuple(sorted(path.name for path in (folder / "images").iterdir() if path.is_dir()))
    files: list[tuple[Path, ...]] = []
    tags: list[tuple[int, ...]] = []
    for number, name in enumerate(names, start=1):
        images = find_images(folder / "images" / name)
        found = [find_images(folder / kind / name, (".png",)) for kind in kinds]
        for kind, maps in zip(kinds, found, strict=True):
            _check_complete(folder / kind / name, sorted(images), maps)
        files += [(path, *(maps[image_id] for maps in found)) for image_id, path in images.items()]
        tags += [(number,)] * len(images)
    if not files:
        raise BadDataset(f"{folder}: has no image in images/<group>/; each group is a folder of its own there")
    side = (config.image_size, config.image_size)

    def decode(position: int) -> Decoded:
        image, mask, *more = files[position]
        pixels = read_image(image, maximum_megapixels=MAXIMUM_MEGAPIXELS).pixels
        size = (pixels.shape[0], pixels.shape[1])
        target = resize(_read_mask(mask, size), side, nearest=True)
        salient = resize(_sized(more[0], size), side) if more else np.zeros(side, np.uint8)
        return resize(pixels, side), salient, target[None]

    return GroupSource(names, tuple(tags), decode, f"the masks in {folder}")


def _check_complete(folder: Path, wanted: Sequence[str], found: Mapping[str, Path]) -> None:
    missing = [image_id for image_id in wanted if image_id not in found]
    if missing:
        hint = look_alikes(folder, missing, found.values())
        raise BadDataset(f"{folder}: {len(missing)} images have no <id>.png here{hint}: {named(missing)}")


def _sized(path: Path, size: tuple[int, int]) -> np.ndarray:
    gray = read_gray(path)
    if gray.shape != size:
        raise BadDataset(f"{path}: is {gray.shape[1]}x{gray.shape[0]}, but its image is {size[1]}x{size[0]}")
    return gray


def _read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8, 0 or 1."""
    gray = _sized(path, size)
    if 0 < gray.max() <= SALIENT_ABOVE:
        raise BadDataset(
            f"{path}: its brightest value is {gray.max()}, so nothing would be foreground; a mask is 0 and 255"
        )
    return (gray > SALIENT_ABOVE).astype(np.uint8)
