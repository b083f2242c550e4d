"""Inference of the class maps of images' tags, averaged over scales and mirror images."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.configs.schema import Activation
from tag2mask.models.parts.affinity_walk import spread_by_affinity
from tag2mask.tasks.dataset.class_maps import write_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.executors.work import Process
from tag2mask.tasks.networks.tensors import batches, images_at_once, to_batch

MapsOf = Callable[[Tensor], Tensor]
"""Images (N, 3, S, S), RGB in [0, 1] -> class maps (N, C, h, w), raw or probabilities."""


def class_map_process(
    maps_of: MapsOf, backbone: nn.Module, index: ImageIndex, config: Activation, out: Path, device: str
) -> Process:
    """What writes the class maps of some images of an index.

    Args:
        maps_of: a network in evaluation mode on the device.
        backbone: the network's, whose deepest features say which cells look alike.
        index: the images.
        config: size, scales, mirroring, batch.
        out: folder of the `<id>.npz`.
        device: `cpu` or `cuda`.
    """
    records = {record.image_id: record for record in index}

    def process(image_ids: Sequence[str]) -> Iterator[tuple[str, list[Path]]]:
        for part in batches(image_ids, images_at_once(config.batch_size, device)):
            pixels = [index.pixels(records[image_id]) for image_id in part]
            with torch.inference_mode():
                activation = activate(maps_of, pixels, config, device)
                activation = spread(activation, backbone, pixels, config, device)
            for image_id, maps in zip(part, activation, strict=True):
                yield image_id, [write_class_maps(out / f"{image_id}.npz", maps.cpu().numpy(), records[image_id].tags)]

    return process


def activate(maps_of: MapsOf, pixels: list[np.ndarray], config: Activation, device: str) -> Tensor:
    """Positive class evidence, averaged over scales and mirror images on the finest of their grids.

    Args:
        maps_of: a network.
        pixels: N images (H, W, 3) uint8 of any size; each is resized to a square.
        config: size, scales, mirroring.
        device: where the network is.

    Returns:
        (N, C, h, w) float32, 0 or more, not normalized.
    """
    found = []
    for scale in sorted(config.scales, reverse=True):
        side = round(config.image_size * scale)
        images = to_batch([resize(image, (side, side)) for image in pixels], device)
        maps = maps_of(images).float().relu()
        if config.flip:
            maps = (maps + maps_of(images.flip(3)).float().relu().flip(3)) / 2
        found.append(maps)
    grid = found[0].shape[2:]
    same = [F.interpolate(maps, size=grid, mode="bilinear", align_corners=False) for maps in found]
    return torch.stack(same).mean(0)


def spread(maps: Tensor, backbone: nn.Module, pixels: list[np.ndarray], config: Activation, device: str) -> Tensor:
    """Spread class maps over cells that look alike at scale 1, where the settings say so; see `spread_by_affinity`.

    Args:
        maps: (N, C, H, W) of `activate`.
        backbone: (N, 3, S, S) -> features of several strides, the deepest last.
        pixels: N images (H, W, 3) uint8 of any size.
        config: size, steps of the walk.
        device: where the backbone is.

    Returns:
        (N, C, H, W) float32, 0 or more.
    """
    walk = config.affinity
    if not walk.steps:
        return maps
    side = (config.image_size, config.image_size)
    features = backbone(to_batch([resize(image, side) for image in pixels], device))[-1].float()
    return spread_by_affinity(maps, features, power=walk.power, steps=walk.steps, share=walk.share)
