"""Class maps of the tags of an image: their inference, and how they are kept.

`<id>.npz` holds maps (K, h, w) uint8, 255 = strongest evidence of its class, on the network's grid over the whole
image, and numbers (K,) uint8, the class numbers 1..C.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.configs.schema import Activation
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.networks.tensors import batches, to_batch
from tag2mask.tasks.store.files import write_file
from tag2mask.tasks.store.journal import process_images
from tag2mask.tasks.store.runtime import StageRuntime


def infer_class_maps(
    network: nn.Module, index: ImageIndex, config: Activation, out: Path, runtime: StageRuntime
) -> None:
    """Write the class maps of every image of an index; those below `out` already are left out.

    Args:
        network: (N, 3, S, S) -> (N, C, h, w) raw class maps, in evaluation mode on the runtime's device.
        index: images to process.
        config: size, scales, mirroring, batch.
        out: folder of the `<id>.npz`.
        runtime: shard size, progress, and earlier results to take over.
    """
    records = {record.image_id: record for record in index}

    def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for part in batches(image_ids, config.batch_size):
            pixels = [index.pixels(records[image_id]) for image_id in part]
            with torch.inference_mode():
                activation = activate(network, pixels, config, runtime.device)
            for image_id, maps in zip(part, activation, strict=True):
                yield image_id, [_write(out / f"{image_id}.npz", maps, records[image_id].tags)]

    process_images(list(index.ids), out, process, runtime)


def activate(network: nn.Module, pixels: list[np.ndarray], config: Activation, device: str) -> Tensor:
    """Positive class evidence, averaged over scales and mirror images on the finest of their grids.

    Args:
        network: (N, 3, S, S) -> (N, C, h, w).
        pixels: N images (H, W, 3) uint8 of any size; each is squashed to a square.
        config: size, scales, mirroring.
        device: where the network is.

    Returns:
        (N, C, h, w) float32, 0 or more, not normalized.
    """
    found = []
    for scale in sorted(config.scales, reverse=True):
        side = round(config.image_size * scale)
        images = to_batch([resize(image, (side, side)) for image in pixels], device)
        maps = network(images).float().relu()
        if config.flip:
            maps = (maps + network(images.flip(3)).float().relu().flip(3)) / 2
        found.append(maps)
    grid = found[0].shape[2:]
    same = [F.interpolate(maps, size=grid, mode="bilinear", align_corners=False) for maps in found]
    return torch.stack(same).mean(0)


def normalize_map(activation: np.ndarray) -> np.ndarray:
    """(K, h, w), 0 or more -> (K, h, w) uint8, each map over its own maximum, cut off as NSROM does (stage B).

    A map without positive evidence stays zero.
    """
    highest = activation.max(axis=(1, 2), keepdims=True, initial=0)
    return np.asarray(activation / (highest + 1e-8) * 255).astype(np.uint8)


def _write(path: Path, maps: Tensor, tags: tuple[int, ...]) -> Path:
    numbers = np.array(tags, np.uint8)
    chosen = normalize_map(maps.cpu().numpy()[numbers.astype(int) - 1])
    buffer = io.BytesIO()
    np.savez(buffer, maps=chosen, numbers=numbers)
    write_file(path, lambda file: file.write(buffer.getbuffer()))
    return path


def read_class_maps(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class maps of one image at its own size.

    Args:
        path: `<id>.npz`.
        size: (height, width) of the image, in pixels.

    Returns:
        Maps (K, H, W) float32 in [0, 1] (cubic interpolation of the 8-bit map, rounded to 8 bits as NSROM keeps it),
        and numbers (K,) uint8.
    """
    with np.load(path, allow_pickle=False) as archive:
        maps, numbers = archive["maps"], archive["numbers"]
    if not len(numbers):
        return np.zeros((0, *size), np.float32), numbers
    tensor = torch.from_numpy(maps)[None].float()  # (K, h, w) -> (1, K, h, w)
    large = F.interpolate(tensor, size=size, mode="bicubic", align_corners=False)[0]
    return (large.round().clamp(0, 255) / 255).numpy(), numbers
