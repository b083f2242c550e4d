"""Random changes of training images, each drawn from a generator that the caller seeds."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as T

from tag2mask.tasks.dataset.label_maps import IGNORE
from tag2mask.tasks.networks.tensors import MEAN_COLOR


def jitter_colors(pixels: np.ndarray, strength: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, saturation and hue of (H, W, 3) uint8, in random order.

    Args:
        pixels: RGB.
        strength: for the first three the factor lies in [1 - s, 1 + s]; the hue turns by up to s <= 0.5 of the circle.
        rng: source of the four amounts and their order.
    """
    amounts = [rng.uniform(1 - s, 1 + s) for s in strength[:3]] + [rng.uniform(-strength[3], strength[3])]
    changes = (T.adjust_brightness, T.adjust_contrast, T.adjust_saturation, T.adjust_hue)
    image = torch.from_numpy(pixels).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
    for number in rng.permutation(4):
        if strength[number]:
            image = changes[number](image, float(amounts[number]))
    return image.permute(1, 2, 0).numpy()  # (3, H, W) -> (H, W, 3)


def mirror_and_rotate(
    pixels: np.ndarray, mask: np.ndarray, degrees: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mirror half of the images, and rotate all by up to `degrees` either way about their center.

    Args:
        pixels: (H, W, 3) uint8.
        mask: (H, W) uint8.
        degrees: largest rotation.
        rng: source of chance.

    Returns:
        The pixels, the mask, and (H, W) bool, False at the rotated-in border.
    """
    mirror, angle = _pose(degrees, rng)
    if mirror:
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    valid = np.full(mask.shape, 255, np.uint8)
    if angle:
        bilinear, nearest = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        pixels = np.array(picture.rotate(angle, bilinear, fillcolor=MEAN_COLOR))
        mask = np.array(Image.fromarray(np.ascontiguousarray(mask)).rotate(angle, bilinear))
        valid = np.array(Image.fromarray(valid).rotate(angle, nearest))
    return np.ascontiguousarray(pixels), np.ascontiguousarray(mask), valid > 127


def mirror_and_rotate_regions(regions: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Move numbered regions as `mirror_and_rotate` moves an image that is given an equal generator.

    Args:
        regions: (H, W) int32, 0 or more.
        degrees: largest rotation.
        rng: source of chance, in the state in which the image's was.

    Returns:
        (H, W) int32, by nearest neighbor; the rotated-in border is a region of its own.
    """
    mirror, angle = _pose(degrees, rng)
    if mirror:
        regions = regions[:, ::-1]
    picture = Image.fromarray(np.ascontiguousarray(regions))
    border = int(regions.max()) + 1
    return np.array(picture.rotate(angle, Image.Resampling.NEAREST, fillcolor=border)) if angle else np.array(picture)


def _pose(degrees: float, rng: np.random.Generator) -> tuple[bool, float]:
    """Whether to mirror, and the angle of rotation."""
    return rng.random() < 0.5, float(rng.uniform(-degrees, degrees))


def scale_and_crop(
    pixels: np.ndarray, labels: np.ndarray, scales: Sequence[float], side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Resize by a random scale, mirror half of the images, and cut a random square.

    What lies outside of the image is ImageNet's mean color and ignored.

    Args:
        pixels: (H, W, 3) uint8.
        labels: (H, W) uint8.
        scales: to choose from.
        side: of the square, in pixels.
        rng: source of chance.

    Returns:
        (side, side, 3) and (side, side) uint8.
    """
    scale = float(rng.choice(list(scales)))
    height, width = (max(1, round(length * scale)) for length in labels.shape)
    if (height, width) != labels.shape:
        pixels = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        labels = np.array(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
    if rng.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    top, down = _window(height, side, rng)
    left, right = _window(width, side, rng)
    crop = np.empty((side, side, 3), np.uint8)
    crop[:] = MEAN_COLOR
    cropped = np.full((side, side), IGNORE, np.uint8)
    rows = slice(down, down + min(side, height))
    columns = slice(right, right + min(side, width))
    crop[rows, columns] = pixels[top : top + side, left : left + side]
    cropped[rows, columns] = labels[top : top + side, left : left + side]
    return crop, cropped


def paste_objects(
    pixels: np.ndarray, labels: np.ndarray, other_pixels: np.ndarray, other_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paste the objects of one image over another of the same size (Ghiasi et al., CVPR 2021, without blending).

    Args:
        pixels: (H, W, 3) uint8.
        labels: (H, W) uint8, 0 background, 1..254 class, 255 ignored.
        other_pixels: (H, W, 3) uint8.
        other_labels: (H, W) uint8; what is a class there is pasted.

    Returns:
        (H, W, 3) and (H, W) uint8, never the arrays that were passed in.
    """
    pasted = (other_labels > 0) & (other_labels != IGNORE)
    return np.where(pasted[..., None], other_pixels, pixels), np.where(pasted, other_labels, labels)


def _window(length: int, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Where to start reading along one axis, and where to start writing."""
    if length >= side:
        return int(rng.integers(0, length - side + 1)), 0
    return 0, int(rng.integers(0, side - length + 1))
