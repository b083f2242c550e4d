"""The demo data set: cluttered scenes with tags and masks, and a saliency set of other shapes.

What marks a class is its outline and the texture of one part (see `shapes`). Color only hints: in most objects one of
the part's two colors lies about the class's usual hue, while bodies and backgrounds take every hue. Large objects tend
to the middle, small ones to the border, where they may be cut. The saliency set is drawn the same way, but its masks
hold the large objects alone, as people mark what is salient.

Writes  images/<id>.jpg             sRGB, sides that vary from scene to scene
        labels.csv                  image_id,labels (classes separated by blanks)
        masks/<id>.png              8-bit palette, 0 background, 1..5 the classes in order; for evaluation alone
        train.txt, val.txt          one image id per line
        saliency/images/<id>.jpg, saliency/masks/<id>.png    8-bit gray, 255 = salient
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.tasks.dataset.label_maps import write_gray, write_labels
from tag2mask.tasks.demo.canvas import Place, draw_background, draw_object, render_image
from tag2mask.tasks.demo.shapes import CLASS_SHAPES, SALIENT_SHAPES, BoolArray, FloatArray, Shape

CLASSES: tuple[str, ...] = tuple(sorted(CLASS_SHAPES))
MINIMUM_PIXELS = 40  # an object that shows less is not drawn: nobody would tag it
SMALLEST_SIDE = 64  # pixels; below it a small object has no 40 pixels


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Attributes:
        image: (H, W, 3) uint8, sRGB.
        mask: (H, W) uint8, 0 background, 1..5 the index in `CLASSES` plus one; no ignored pixels.
        tags: the classes in the mask, in the order of `CLASSES`; at least one.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    tags: tuple[str, ...]


def draw_scene(rng: np.random.Generator, *, size: tuple[int, int] = (128, 128)) -> Scene:
    """Draw one to three objects of the five classes on a cluttered background.

    Args:
        rng: the only source of chance; the same state gives the same scene.
        size: height and width in pixels, each at least `SMALLEST_SIDE`.

    Returns:
        The scene. Objects may overlap slightly, later ones in front; each shows at least `MINIMUM_PIXELS`.

    Raises:
        ValueError: a side is too short.
    """
    canvas, owner = _empty(rng, size)
    mask = np.zeros(size, dtype=np.uint8)
    for large in _roles(rng):
        name = CLASSES[int(rng.integers(len(CLASSES)))]
        index = CLASSES.index(name)
        drawn = _add_object(canvas, owner, CLASS_SHAPES[name], rng, large=large, usual_hue=index / len(CLASSES))
        mask[drawn] = index + 1
    tags = tuple(name for index, name in enumerate(CLASSES, start=1) if (mask == index).any())
    return Scene(render_image(canvas, rng), mask, tags)


def draw_salient_scene(
    rng: np.random.Generator, *, size: tuple[int, int] = (128, 128)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a training pair for saliency, of shapes that are none of the five classes.

    Args:
        rng: the only source of chance; the same state gives the same pair.
        size: height and width in pixels, each at least `SMALLEST_SIDE`.

    Returns:
        image (H, W, 3) uint8 sRGB, and mask (H, W) uint8: 255 on the large object, 0 elsewhere, the small objects
        included.

    Raises:
        ValueError: a side is too short.
    """
    canvas, owner = _empty(rng, size)
    mask = np.zeros(size, dtype=np.uint8)
    shapes = [shape for _, shape in sorted(SALIENT_SHAPES.items())]
    for large in [True, *_roles(rng)[1:]]:
        drawn = _add_object(canvas, owner, shapes[int(rng.integers(len(shapes)))], rng, large=large)
        mask[drawn] = 255 if large else 0
    return render_image(canvas, rng), mask


def _empty(rng: np.random.Generator, size: tuple[int, int]) -> tuple[FloatArray, NDArray[np.int64]]:
    """A background, and the map of which object shows at each pixel: 0 for none, k for the k-th."""
    if min(size) < SMALLEST_SIDE:
        raise ValueError(f"size={size}: each side must be at least {SMALLEST_SIDE} pixels")
    return draw_background(rng, size), np.zeros(size, dtype=np.int64)


def _roles(rng: np.random.Generator) -> list[bool]:
    """One to three objects; True for a large one, which is the first in most scenes and never another."""
    return [bool(rng.random() < 0.85)] + [False] * int(rng.choice(3, p=(0.3, 0.4, 0.3)))


def _place(rng: np.random.Generator, size: tuple[int, int], *, large: bool) -> Place:
    """Large: about the middle, 40 to 60 % of the shorter side. Small: 12 to 34 %, mostly near the border."""
    row, column = np.clip(rng.normal(0.5, 0.1, 2), 0.25, 0.75) if large else rng.uniform(0.05, 0.95, 2)
    if not large and rng.random() < 0.6:
        edge = rng.uniform(0.04, 0.18)
        row, column = [(edge, column), (1 - edge, column), (row, edge), (row, 1 - edge)][int(rng.integers(4))]
    extent = rng.uniform(0.4, 0.6) if large else rng.uniform(0.12, 0.34)
    return Place(float(row * size[0]), float(column * size[1]), extent * min(size) / 2)


def _add_object(
    canvas: FloatArray,
    owner: NDArray[np.int64],
    shape: Shape,
    rng: np.random.Generator,
    *,
    large: bool,
    usual_hue: float | None = None,
) -> BoolArray:
    """Paint one object in front of the others, into `canvas` and `owner`; (H, W), True where it shows.

    A place is good where the object shows enough, hides at most a quarter of any other, and leaves enough of it. Where
    none of 50 is good, nothing is painted and the result is empty; the first object finds one in practice always.
    """
    height, width = owner.shape
    for _ in range(50):
        drawn = draw_object(canvas, shape, _place(rng, (height, width), large=large), rng, usual_hue=usual_hue)
        before = np.bincount(owner.ravel())[1:]
        after = np.bincount(owner[~drawn.mask], minlength=len(before) + 1)[1:]
        if drawn.mask.sum() >= MINIMUM_PIXELS and (after >= np.maximum(0.75 * before, MINIMUM_PIXELS)).all():
            canvas *= 1 - drawn.cover[..., None]
            canvas += drawn.color
            owner[drawn.mask] = len(before) + 1
            return drawn.mask
    return np.zeros(owner.shape, dtype=np.bool_)


def write_demo(
    folder: Path, *, scenes: int = 250, validation: int = 50, saliency: int = 120, size: int = 128, seed: int = 0
) -> None:
    """Write the whole demo data set; the same arguments write the same bytes.

    A scene depends on the size, the seed and its own number alone: asking for more leaves the first ones as they are.

    Args:
        folder: made if absent; must hold no earlier demo data.
        scenes: number of scenes, the validation scenes included.
        validation: how many of them, the last ones, are named in `val.txt` instead of `train.txt`.
        saliency: number of saliency pairs.
        size: mean length of a side in pixels; sides are 7/8, 8/8 or 9/8 of it.
        seed: of everything.

    Raises:
        ValueError: `validation` is not below `scenes`, or `size` is too small.
        FileExistsError: the folder holds demo data already.
    """
    if not 0 <= validation < scenes:
        raise ValueError(f"validation={validation} must be at least 0 and below scenes={scenes}")
    for part in ("images", "masks", "saliency/images", "saliency/masks"):
        if (folder / part).exists():
            raise FileExistsError(f"{folder / part} exists already; give an empty folder")
        (folder / part).mkdir(parents=True)
    rows = [_write_scene(folder, number, size, seed) for number in range(1, scenes + 1)]
    for number in range(1, saliency + 1):
        rng = np.random.default_rng([seed, 1, number])
        image, mask = draw_salient_scene(rng, size=_varied(rng, size))
        _write_jpeg(image, folder / "saliency" / "images" / f"salient_{number:04d}.jpg")
        write_gray(folder / "saliency" / "masks" / f"salient_{number:04d}.png", mask)
    _write_lines(folder / "labels.csv", ["image_id,labels", *(f"{name},{' '.join(tags)}" for name, tags in rows)])
    _write_lines(folder / "train.txt", [name for name, _ in rows[: scenes - validation]])
    _write_lines(folder / "val.txt", [name for name, _ in rows[scenes - validation :]])


def _write_scene(folder: Path, number: int, size: int, seed: int) -> tuple[str, tuple[str, ...]]:
    """Draw and write one scene; its image id and tags."""
    rng = np.random.default_rng([seed, 0, number])
    scene = draw_scene(rng, size=_varied(rng, size))
    name = f"scene_{number:04d}"
    _write_jpeg(scene.image, folder / "images" / f"{name}.jpg")
    write_labels(folder / "masks" / f"{name}.png", scene.mask)
    return name, scene.tags


def _varied(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Height and width, each 7/8, 8/8 or 9/8 of `size`."""
    height, width = (round(size * int(eighths) / 8) for eighths in rng.integers(7, 10, 2))
    return height, width


def _write_jpeg(image: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(image).save(path, quality=95)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())  # bytes: the same line ends on every system
