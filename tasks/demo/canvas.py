"""Drawing of the demo data: cluttered backgrounds, anti-aliased objects, and the look of an image.

Colors are float in [0, 1] until `render_image` makes bytes of them; a canvas is (H, W, 3). Nothing here knows a class.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import draw

from tag2mask.tasks.demo.shapes import BoolArray, FloatArray, Shape

USUAL = 0.9  # share of a class's objects whose part is lighter in the class's usual hue, the rest in any
SUPERSAMPLING = 3  # color samples per pixel and axis; a pixel is in a mask where most of them are inside


@dataclass(frozen=True)
class Place:
    """Center (row, column) and half the extent of an object, in pixels."""

    row: float
    column: float
    radius: float


@dataclass(frozen=True)
class DrawnObject:
    """An object by itself: share of each pixel that it covers (H, W), and its color times that share (H, W, 3)."""

    cover: FloatArray
    color: FloatArray

    @property
    def mask(self) -> BoolArray:
        """(H, W), True where the object covers at least half the pixel."""
        return self.cover >= 0.5


def random_color(rng: np.random.Generator, *, value: tuple[float, float] = (0.2, 0.95)) -> FloatArray:
    """Any hue, any saturation up to 0.85, brightness in the range given; (3,) RGB in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 0.85), rng.uniform(*value)))


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], sigma: float) -> FloatArray:
    """Gaussian noise blurred by `sigma` pixels and scaled back to mean 0 and standard deviation 1; shape `size`."""
    noise = ndimage.gaussian_filter(rng.standard_normal(size), sigma, mode="reflect")
    scaled: FloatArray = (noise - noise.mean()) / noise.std()
    return scaled


def draw_background(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """A gradient of two colors under patches, noise of three scales, lines and specks; (H, W, 3)."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width] / min(size)
    turn = rng.uniform(0, 2 * np.pi)
    blend = np.cos(turn) * rows + np.sin(turn) * columns + 0.2 * smooth_noise(rng, size, min(size) / 5)
    blend = ((blend - blend.min()) / (blend.max() - blend.min()))[..., None]
    canvas: FloatArray = (1 - blend) * random_color(rng) + blend * random_color(rng)
    for _ in range(int(rng.integers(1, 4))):  # patches with a hard edge
        patch = smooth_noise(rng, size, min(size) / rng.uniform(6, 16)) > rng.uniform(0.7, 1.5)
        canvas += rng.uniform(0.25, 0.6) * patch[..., None] * (random_color(rng) - canvas)
    for sigma in (1.0, 3.0, 8.0):
        canvas += rng.uniform(0.0, 0.05) * smooth_noise(rng, size, sigma)[..., None]
    _draw_lines(canvas, rng)
    _draw_specks(canvas, rng)
    return canvas


def _draw_lines(canvas: FloatArray, rng: np.random.Generator) -> None:
    """Up to ten thin straight lines, half transparent, in place."""
    height, width, _ = canvas.shape
    for _ in range(int(rng.integers(2, 11))):
        (r0, r1), (c0, c1) = rng.integers(0, height, 2), rng.integers(0, width, 2)
        row, column, share = draw.line_aa(int(r0), int(c0), int(r1), int(c1))  # type: ignore[no-untyped-call]
        share = (share * rng.uniform(0.3, 0.8))[:, None]
        canvas[row, column] = (1 - share) * canvas[row, column] + share * random_color(rng)


def _draw_specks(canvas: FloatArray, rng: np.random.Generator) -> None:
    """Discs of one to three pixels in radius, scattered, in place."""
    height, width, _ = canvas.shape
    for _ in range(int(rng.integers(5, 40))):
        center = (rng.uniform(0, height), rng.uniform(0, width))
        row, column = draw.disk(center, rng.uniform(1.0, 3.0), shape=(height, width))  # type: ignore[no-untyped-call]
        canvas[row, column] += rng.uniform(0.3, 0.9) * (random_color(rng) - canvas[row, column])


def draw_object(
    canvas: FloatArray, shape: Shape, place: Place, rng: np.random.Generator, *, usual_hue: float | None = None
) -> DrawnObject:
    """Draw a shape at a place: any rotation, stretched by up to 1.2, lit from one side, cut by the border.

    Args:
        canvas: (H, W, 3), what is behind, only read: the body's color keeps some distance from it.
        shape: see `shapes`.
        place: may lie partly outside.
        rng: the only source of chance.
        usual_hue: in [0, 1), about which the part's lighter color lies in `USUAL` of the objects; None for any hue.

    Returns:
        The object alone, on arrays of the canvas's size.
    """
    height, width, _ = canvas.shape
    reach = place.radius * 1.25 + 1
    top, bottom = max(0, int(place.row - reach)), min(height, int(place.row + reach) + 2)
    left, right = max(0, int(place.column - reach)), min(width, int(place.column + reach) + 2)
    rows = (np.arange((bottom - top) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING + top - place.row
    columns = (np.arange((right - left) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING + left - place.column
    u, v = _local_frame(rows[:, None] / place.radius, columns[None, :] / place.radius, rng)
    layers = shape(u, v, rng)
    body, dark, light = _colors(canvas[top:bottom, left:right].mean(axis=(0, 1)), rng, usual_hue)
    color = np.where(layers.part[..., None], np.where(layers.texture[..., None], dark, light), body)
    turn = rng.uniform(0, 2 * np.pi)
    color *= (1 + rng.uniform(0.0, 0.3) * (np.cos(turn) * u + np.sin(turn) * v))[..., None]
    cover, premultiplied = np.zeros((height, width)), np.zeros((height, width, 3))
    cover[top:bottom, left:right] = _downsample(layers.inside[..., None].astype(np.float64))[..., 0]
    premultiplied[top:bottom, left:right] = _downsample(color * layers.inside[..., None])
    return DrawnObject(cover, premultiplied)


def _local_frame(row: FloatArray, column: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Rotate and stretch offsets (in radii) into the frame of a shape."""
    turn, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 1.2)
    u = (np.cos(turn) * column + np.sin(turn) * row) / stretch
    v = (np.cos(turn) * row - np.sin(turn) * column) * stretch
    return u, v


def _colors(
    behind: FloatArray, rng: np.random.Generator, usual_hue: float | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Color of the body, which differs clearly from (3,) `behind`, and the dark and the light color of the part."""
    body = random_color(rng)
    while np.linalg.norm(body - behind) < 0.25:
        body = random_color(rng)
    dark, light = random_color(rng, value=(0.05, 0.35)), random_color(rng, value=(0.7, 1.0))
    if usual_hue is not None and rng.random() < USUAL:
        hue = (usual_hue + rng.normal(0.0, 0.05)) % 1.0
        light = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.6, 0.95), rng.uniform(0.7, 1.0)))
    return body, dark, light


def _downsample(samples: FloatArray) -> FloatArray:
    """Average SUPERSAMPLING x SUPERSAMPLING samples into pixels: (s*H, s*W, C) -> (H, W, C)."""
    height, width, channels = samples.shape
    s = SUPERSAMPLING
    pixels: FloatArray = samples.reshape(height // s, s, width // s, s, channels).mean(axis=(1, 3))
    return pixels


def render_image(canvas: FloatArray, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Make an image of a canvas: uneven light, slight blur, sensor noise; (H, W, 3) float to uint8."""
    height, width, _ = canvas.shape
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width) - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(0.85, 1.1) * (1 + rng.uniform(0.0, 0.4) * (np.cos(turn) * rows + np.sin(turn) * columns))
    sigma = rng.uniform(0.0, 0.7)
    image = ndimage.gaussian_filter(np.clip(canvas, 0, 1) * light[..., None], (sigma, sigma, 0))
    image = image + rng.normal(0.0, rng.uniform(0.005, 0.025), canvas.shape)
    photo: NDArray[np.uint8] = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return photo
