"""Class maps as the public code infers them: one image and one view at a time, and a PNG for each class.

The network is ours, which normalizes colors itself, with its batch norms unfolded and in torch's default memory layout.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.configs.schema import Activation


def infer_file(
    network: nn.Module, config: Activation, name: str, classes: Sequence[int], image: Path, out: Path
) -> None:
    """Write <out>/<name>_<class>.png, of the image's size, for each class number 1..C of the image."""
    with Image.open(image) as file:
        picture = file.convert("RGB")
    with torch.no_grad():
        evidence = _evidence(network, config, picture)[0]
    for number in classes:
        plane = evidence[number - 1].numpy()
        levels = (plane / (plane.max() + 1e-8) * 255).astype(np.uint8)  # cut off, then enlarged
        small = torch.from_numpy(levels)[None, None].float()
        large = F.interpolate(small, size=picture.size[::-1], mode="bicubic", align_corners=False)[0, 0]
        Image.fromarray(large.round().clamp(0, 255).byte().numpy()).save(out / f"{name}_{number}.png")


def _evidence(network: nn.Module, config: Activation, picture: Image.Image) -> Tensor:
    """(1, C, h, w) float32, averaged over scales and mirror images on the finest grid."""
    found: list[Tensor] = []
    for scale in sorted(config.scales, reverse=True):
        side = round(config.image_size * scale)
        pixels = np.array(picture.resize((side, side), Image.Resampling.BILINEAR))
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float().div(255)
        batch = batch.contiguous()
        maps = network(batch)[1].relu()
        if config.flip:
            maps = (maps + network(batch.flip(3))[1].relu().flip(3)) / 2
        found.append(F.interpolate(maps, size=found[0].shape[2:], mode="bilinear") if found else maps)
    return torch.stack(found).mean(0)
