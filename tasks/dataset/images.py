"""Read images as a person sees them: upright, 8-bit RGB; and say what is wrong with those that cannot be read."""

import hashlib
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tag2mask.configs.errors import UserError
from tag2mask.tasks.catalog import IMAGE_SUFFIXES
from tag2mask.tasks.dataset.image_ids import is_legible
from tag2mask.tasks.store.digests import file_digest, names_in

OTHER_PICTURES = frozenset(
    {".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".psd", ".svg", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw"}
)
"""Suffixes of pictures that are not read."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""What a file may hold, whatever its suffix says; some of Pillow's other formats run external programs."""
ORIENTATION = 0x0112
"""EXIF tag of the camera's orientation; 1 is upright, 2..8 are turned or mirrored."""
CONVERTED_MODES = {"1": "grayscale", "L": "grayscale", "P": "palette", "CMYK": "CMYK", "YCbCr": "YCbCr"}
DEEP_GREY_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
ALPHA_MODES = ("RGBA", "LA", "PA")
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on files that are damaged, of no known kind, or too large."""


class BadImage(UserError, ValueError):
    """An image file cannot be used; the message names the file, the reason and the remedy."""

    def __init__(self, where: Path, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        """The file."""
        self.reason = reason
        """Reason and remedy without the file, the same on every machine."""

    def __reduce__(self) -> tuple[type["BadImage"], tuple[Path, str]]:
        return BadImage, (self.where, self.reason)


@dataclass(frozen=True)
class DecodedImage:
    """An image, and what had to be done to read it as upright 8-bit RGB."""

    pixels: np.ndarray
    """(H, W, 3) uint8 RGB."""
    converted: str
    """What was converted, e.g. `CMYK, rotated by EXIF`; empty where the file's own pixels are used."""


def read_image(path: Path, *, maximum_megapixels: float) -> DecodedImage:
    """Decode a whole file.

    Grayscale, palette, CMYK, 12- and 16-bit images become 8-bit RGB, transparency is laid on white, and the camera's
    orientation is applied; `converted` says so.  Of several pages or frames the first is read.

    Raises:
        BadImage: empty, truncated, not an image, of a kind that has no one reading as RGB (floating point, 32-bit,
            CIELAB), or larger than allowed (judged by the header, before decoding).
    """
    if path.stat().st_size == 0:
        raise BadImage(path, "is empty (0 bytes); copy it again or remove it")
    try:
        # a path would be mapped into memory, and Pillow maps some turned TIFFs by the wrong sides
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            _check_header(path, image, maximum_megapixels)
            return _as_rgb(image)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        formats = ", ".join(FORMATS)
        raise BadImage(path, f"is not an image that can be read ({formats}); save it again as JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise BadImage(path, f"is too large to be decoded safely ({error}); shrink it") from error
    except DECODER_ERRORS as error:
        problem = getattr(error, "strerror", None) or error
        raise BadImage(path, f"is damaged or cut short ({problem}); copy it again or remove it") from error


def _check_header(path: Path, image: Image.Image, maximum_megapixels: float) -> None:
    """Refuse by the header what must not or cannot be decoded."""
    megapixels = image.width * image.height / 1e6
    if megapixels > maximum_megapixels:
        raise BadImage(
            path,
            f"{image.width}x{image.height} = {megapixels:.1f} megapixels, above maximum_megapixels "
            f"{maximum_megapixels:g}: shrink it, or raise that setting if you trust the file",
        )
    if image.mode not in ("RGB", *CONVERTED_MODES, *DEEP_GREY_MODES, *ALPHA_MODES):
        raise BadImage(path, f"has mode {image.mode}, which has no one reading as RGB; save it again as 8-bit RGB")


def _as_rgb(image: Image.Image) -> DecodedImage:
    """Upright 8-bit RGB pixels of an opened image."""
    # both asked before loading, which forgets the packing and turns TIFF files
    packing = [str(tile[3]) for tile in image.tile]  # type: ignore[attr-defined]
    bits = 12 if any("I;12" in one for one in packing) else 16  # Pillow gives both the same mode, and leaves 0..4095
    deep = image.mode in DEEP_GREY_MODES or any(";16" in one for one in packing)
    turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
    notes = ["rotated by EXIF"] * turned + [f"{bits}-bit"] * deep
    image.load()
    if turned:
        image = ImageOps.exif_transpose(image)
    if image.mode in DEEP_GREY_MODES:
        values = np.asarray(image, dtype=np.float64)
        highest = 2**bits - 1  # -> 255; in color Pillow does it
        image = Image.fromarray(np.round(values / (highest / 255)).astype(np.uint8))
    elif image.mode in ALPHA_MODES or "transparency" in image.info:
        notes.append("transparent")
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    elif image.mode != "RGB":
        notes.append(CONVERTED_MODES[image.mode])
    return DecodedImage(np.array(image.convert("RGB")), ", ".join(notes))


class ImageFiles(Mapping[str, Path]):
    """Image id -> file, for files below one folder, in the order given.

    What is held of an image is its id and its name: a million `Path`s that were looked at take a gigabyte.
    """

    __slots__ = ("_names", "folder")

    def __init__(self, folder: Path, names: Mapping[str, str]) -> None:
        """Files by the names below a folder that each id has."""
        self.folder, self._names = folder, names

    def __getitem__(self, image_id: str) -> Path:
        return self.folder / self._names[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._names

    def name(self, image_id: str) -> str:
        """Name of an image's file below the folder."""
        return self._names[image_id]

    def only(self, image_ids: Iterable[str]) -> "ImageFiles":
        """The files of these ids, in the order given."""
        return ImageFiles(self.folder, {image_id: self._names[image_id] for image_id in image_ids})


def find_images(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> ImageFiles:
    """Image id (name without suffix) -> file, for the images right in a folder, sorted by id.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: two files with the same id, e.g. `a.jpg` and `a.png`.
        BadImage: a name is not UTF-8, or has control characters: no table could hold it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found: dict[str, str] = {}
    for name in names_in(folder, suffixes):
        image_id = os.path.splitext(name)[0]
        if image_id in found:
            raise ValueError(f"{folder / name}: has the same id as {found[image_id]}; rename one of the two")
        found[image_id] = name
    unfit = [os.fsencode(name) for name in found.values() if not is_legible(name)]
    if unfit:
        what = "names that are not UTF-8, or have control characters"
        raise BadImage(folder, f"{len(unfit)} images have {what}, the first {unfit[0]!r}; rename them")
    return ImageFiles(folder, {image_id: found[image_id] for image_id in sorted(found)})


def unread_files(folder: Path) -> str:
    """What stands in a folder beside the images and is not looked at: `photos: not read: 2 .heic, 1 folder`.

    Files that are no pictures, and hidden ones, are not counted; empty where there is nothing to report.
    """
    pictures: Counter[str] = Counter()
    folders = broken = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                continue
            pictures[suffix] += suffix in OTHER_PICTURES
            folders += os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()
            broken += suffix in IMAGE_SUFFIXES and entry.is_symlink() and not os.path.exists(entry)
    counts = [f"{count} {suffix}" for suffix, count in sorted(pictures.items()) if count]
    counts += [_counted(folders, "folder")] * bool(folders) + [_counted(broken, "broken link")] * bool(broken)
    return f"{folder}: not read: {', '.join(counts)}" if counts else ""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + "s" * (count != 1)


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image that an index stage has already checked."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def image_digest(path: Path) -> str:
    """SHA-256 of an indexed image: of a PNG's pixels, which any encoder may have written; of other files' bytes."""
    if path.suffix != ".png":
        return file_digest(path)
    pixels = read_rgb(path)
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def resize(pixels: np.ndarray, size: tuple[int, int], *, nearest: bool = False) -> np.ndarray:
    """Resize (H, W) or (H, W, 3) uint8 to `size` = (height, width), bilinear with antialiasing or nearest."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), method))
