"""Drawing of the demo data: laws of an object on a canvas, and of an image."""

import numpy as np
import pytest

from tag2mask.tasks.demo.canvas import Place, draw_background, draw_object, random_color, render_image, smooth_noise
from tag2mask.tasks.demo.shapes import FloatArray, Layers, beetle


def disc(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    inside = u**2 + v**2 <= 1
    return Layers(inside, inside & (u > 2), inside)


def test_object_moves_with_its_place() -> None:
    """An object drawn some whole pixels away is the same object, moved."""
    canvas = np.full((80, 90, 3), 0.5)
    here = draw_object(canvas, beetle, Place(30.0, 35.0, 14.0), np.random.default_rng(1))
    there = draw_object(canvas, beetle, Place(37.0, 46.0, 14.0), np.random.default_rng(1))
    assert np.allclose(np.roll(here.cover, (7, 11), (0, 1)), there.cover)
    assert np.allclose(np.roll(here.color, (7, 11), (0, 1)), there.color)


def test_border_cuts_an_object() -> None:
    """An object partly outside is the part that is inside of the same object on a larger canvas."""
    small = draw_object(np.full((40, 40, 3), 0.5), beetle, Place(2.0, 37.0, 12.0), np.random.default_rng(2))
    large = draw_object(np.full((80, 80, 3), 0.5), beetle, Place(22.0, 57.0, 12.0), np.random.default_rng(2))
    assert np.allclose(small.cover, large.cover[20:60, 20:60])
    assert 0 < small.mask.sum() < large.mask.sum()


def test_cover_adds_up_to_the_area() -> None:
    """A disc, stretched at constant area, covers pi times its radius squared."""
    drawn = draw_object(np.zeros((80, 80, 3)), disc, Place(40.3, 39.8, 20.0), np.random.default_rng(3))
    assert drawn.cover.sum() == pytest.approx(np.pi * 20**2, rel=0.01)
    assert drawn.mask.sum() == pytest.approx(np.pi * 20**2, rel=0.02)


def test_color_is_premultiplied() -> None:
    """An object has no color where it covers nothing, and never more than its share lit at most by 1.3."""
    drawn = draw_object(np.full((60, 60, 3), 0.5), beetle, Place(30.0, 30.0, 20.0), np.random.default_rng(4))
    assert (drawn.color[drawn.cover == 0] == 0).all()
    assert (drawn.color <= 1.3 * drawn.cover[..., None] + 1e-9).all()


def test_usual_hue_shows_in_most_objects() -> None:
    """The part's lighter color lies about the usual hue in about seven of ten objects, and by chance in the others."""

    def part_only(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
        inside = u**2 + v**2 <= 1
        return Layers(inside, inside, np.zeros_like(inside))

    canvas = np.full((20, 20, 3), 0.5)
    greenest = []
    for seed in range(200):
        drawn = draw_object(canvas, part_only, Place(10, 10, 8), np.random.default_rng(seed), usual_hue=1 / 3)
        greenest.append(drawn.color[10, 10].argmax() == 1)
    assert 0.65 < np.mean(greenest) < 0.95


def test_background_is_cluttered_and_drawn_in_full() -> None:
    """A background has no hole and no flat eighth: every block of it varies."""
    for seed in range(5):
        canvas = draw_background(np.random.default_rng(seed), (96, 128))
        assert canvas.shape == (96, 128, 3)
        assert np.isfinite(canvas).all()
        blocks = canvas.reshape(8, 12, 8, 16, 3).std(axis=(1, 3))
        assert (blocks.max(axis=-1) > 0).all()


def test_smooth_noise_is_scaled() -> None:
    """Smoothed noise has mean 0 and standard deviation 1 at every scale."""
    for sigma in (1.0, 8.0):
        noise = smooth_noise(np.random.default_rng(0), (50, 60), sigma)
        assert noise.shape == (50, 60)
        assert (noise.mean(), noise.std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))


def test_image_is_bytes_near_the_canvas() -> None:
    """An image keeps the canvas's colors up to light and noise, and clips what is out of range."""
    gray = render_image(np.full((40, 50, 3), 0.5), np.random.default_rng(0))
    assert (gray.shape, gray.dtype) == ((40, 50, 3), np.uint8)
    assert 80 < gray.mean() < 170
    white = render_image(np.full((40, 50, 3), 9.0), np.random.default_rng(0))
    assert white.mean() > 200


def test_random_color_keeps_its_brightness() -> None:
    """The brightest channel lies in the range asked for."""
    rng = np.random.default_rng(0)
    brightest = [random_color(rng, value=(0.7, 0.8)).max() for _ in range(50)]
    assert min(brightest) >= 0.7 and max(brightest) <= 0.8
