"""Read photographs as a person sees them: upright, 8-bit RGB; and say what is wrong with those that cannot be read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

PHOTOGRAPH_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
ORIENTATION = 0x0112
"""EXIF tag of the camera's orientation; 1 is upright."""


class BadImage(ValueError):
    """An image file cannot be used; the message names the file, the reason and the remedy."""


@dataclass(frozen=True)
class Photograph:
    """A photograph, and what had to be done to read it as upright 8-bit RGB."""

    pixels: np.ndarray
    """(H, W, 3) uint8 RGB."""
    converted: str
    """What was converted, e.g. `CMYK, rotated by EXIF`; empty where the file's own pixels are used."""


def read_photograph(path: Path, *, maximum_megapixels: float) -> Photograph:
    """Decode a whole file.

    Greyscale, palette, CMYK and 16-bit images become 8-bit RGB, transparency is laid on white, and the camera's orientation is
    applied; `converted` says so.

    Raises:
        BadImage: empty, truncated, not an image, or larger than allowed (judged by the header, before decoding).
    """
    if path.stat().st_size == 0:
        raise BadImage(f"{path}: is empty (0 bytes); copy it again or remove it")
    try:
        with Image.open(path) as image:
            megapixels = image.width * image.height / 1e6
            if megapixels > maximum_megapixels:
                raise BadImage(
                    f"{path}: {image.width}x{image.height} = {megapixels:.0f} megapixels, above maximum_megapixels "
                    f"{maximum_megapixels:g}: shrink it, or raise that setting if you trust the file"
                )
            image.load()
            return _as_rgb(image)
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadImage(f"{path}: is not an image that can be read ({error}); save it again as JPEG or PNG") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, BadImage):
            raise
        raise BadImage(f"{path}: is damaged or cut short ({error}); copy it again or remove it") from error


def _as_rgb(image: Image.Image) -> Photograph:
    """Upright 8-bit RGB pixels of a decoded image."""
    notes = []
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
        notes.append("rotated by EXIF")
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        notes.append("16-bit")
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray(np.clip(np.round(values / 257), 0, 255).astype(np.uint8))  # 65535 -> 255
    elif "A" in image.mode or "transparency" in image.info:
        notes.append("transparent")
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    elif image.mode != "RGB":
        notes.append({"L": "greyscale", "1": "greyscale", "P": "palette"}.get(image.mode, image.mode))
    return Photograph(np.array(image.convert("RGB")), ", ".join(notes))


def find_images(folder: Path, suffixes: tuple[str, ...] = PHOTOGRAPH_SUFFIXES) -> dict[str, Path]:
    """Image id (name without suffix) -> file, for the images right in a folder, sorted by id.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: two files with the same id, e.g. `a.jpg` and `a.png`.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith("."):
            if path.stem in found:
                raise ValueError(f"{path}: has the same id as {found[path.stem].name}; rename one of the two")
            found[path.stem] = path
    return dict(sorted(found.items()))


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image that an index stage has already checked."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def resize(pixels: np.ndarray, size: tuple[int, int], *, nearest: bool = False) -> np.ndarray:
    """Resize (H, W) or (H, W, 3) uint8 to `size` = (height, width), bilinear with antialiasing or nearest."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), method))
