"""Inference of class maps: planted peaks, mirroring, scales."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.configs.schema import Activation
from tag2mask.tasks.networks.class_map_inference import activate, spread


class Channels(nn.Module):
    """A network whose class maps are the normalized red, green and blue of its image, averaged over 8x8 pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, 8)


class Leaning(nn.Module):
    """A network that sees the left half of an image only, so that mirroring matters."""

    def forward(self, images: Tensor) -> Tensor:
        maps = F.avg_pool2d(images, 8)
        return maps * (torch.arange(maps.shape[3]) < maps.shape[3] // 2)


class Deepest(Channels):
    """A backbone whose deepest features are a cell's colors and one that all dark cells have."""

    def forward(self, images: Tensor) -> list[Tensor]:
        cells = super().forward(images)
        return [images, torch.cat([cells, 1 - cells[:, :1]], 1)]


def spot(row: int, column: int, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """(H, W, 3) uint8, black but for a white 8x8 cell."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
    return pixels


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (7, 7), (4, 3)])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 2.0), (0.5, 1.0)])
def test_a_planted_peak_is_found_where_it_is(row: int, column: int, flip: bool, scales: tuple[float, ...]) -> None:
    """A bright cell is the peak of every class map, whatever the scales and with or without mirroring."""
    config = Activation(image_size=64, scales=scales, flip=flip)
    maps = activate(Channels(), [spot(row, column)], config, "cpu")
    side = round(8 * max(scales))
    assert maps.shape == (1, 3, side, side)
    for plane in maps[0]:
        peak_row, peak_column = divmod(int(plane.argmax()), side)
        assert (peak_row * 8 // side, peak_column * 8 // side) == (row, column)


def test_evidence_is_never_negative() -> None:
    """Black pixels lie below the mean color, and count as none."""
    maps = activate(Channels(), [spot(1, 1)], Activation(image_size=64), "cpu")
    assert (maps >= 0).all() and int((maps[0, 0] > 0).sum()) == 1


def test_mirroring_averages_both_views() -> None:
    """What a network sees on one side only is seen half as strong on both sides, at its mirrored place."""
    images = [spot(2, 6)]
    plain, both = (activate(Leaning(), images, Activation(image_size=64, flip=f), "cpu") for f in (False, True))
    full = activate(Channels(), images, Activation(image_size=64), "cpu")
    assert not plain.any()
    assert torch.allclose(both, full / 2)


def test_mirrored_images_have_mirrored_maps() -> None:
    """With mirroring the maps of a mirror image are the mirror image of the maps."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    config = Activation(image_size=64, flip=True)
    both = activate(Leaning(), [image, np.ascontiguousarray(image[:, ::-1])], config, "cpu")
    assert torch.allclose(both[0], both[1].flip(2))


def test_scales_are_averaged_on_the_finest_grid() -> None:
    """The map of several scales is the mean of the single ones, enlarged to the largest of their grids."""
    images = [np.random.default_rng(1).integers(0, 256, (50, 70, 3)).astype(np.uint8)]
    maps = [activate(Channels(), images, Activation(image_size=64, scales=(s,)), "cpu") for s in (0.5, 1.0)]
    enlarged = F.interpolate(maps[0], size=(8, 8), mode="bilinear", align_corners=False)
    joint = activate(Channels(), images, Activation(image_size=64, scales=(0.5, 1.0)), "cpu")
    assert torch.allclose(joint, (enlarged + maps[1]) / 2)


def test_images_of_any_size_share_a_batch() -> None:
    """Each image of a batch has the map it has alone."""
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in ((40, 60), (90, 30), (64, 64))]
    config = Activation(image_size=64)
    together = activate(Channels(), images, config, "cpu")
    for number, image in enumerate(images):
        assert torch.allclose(together[number], activate(Channels(), [image], config, "cpu")[0])


def test_maps_are_spread_where_the_settings_say_so() -> None:
    """Without steps of the walk the maps stay the very same; with some, cells that look alike share their evidence."""
    pixels = [spot(1, 1)]
    pixels[0][40:48, 40:48] = 255
    maps = activate(Channels(), pixels, Activation(image_size=64), "cpu")
    maps[..., 5, 5] = 0
    assert spread(maps, Deepest(), pixels, Activation(image_size=64), "cpu") is maps
    walked = spread(maps, Deepest(), pixels, Activation(image_size=64, affinity={"steps": 1, "share": 1}), "cpu")
    assert walked[0, 0, 5, 5] > 0.99 and walked[0, 0, 3, 3] < 0.01
