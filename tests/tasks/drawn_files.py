"""Small image files and folders that the tests of the index stages read."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    """(H, W, 3) uint8: smooth enough to survive JPEG, and different at every corner."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3)).astype(np.uint8)
    return np.array(Image.fromarray(corners).resize(size[::-1], Image.Resampling.BILINEAR))


def save_image(path: Path, seed: int = 0, size: tuple[int, int] = (12, 16)) -> Path:
    """Save an upright RGB image of `size` = (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, size)).save(path)
    return path


def save_mask(path: Path, values: np.ndarray) -> Path:
    """Save (H, W) values as an 8-bit gray PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


def save_raw_png(path: Path, size: tuple[int, int], bits: int, color: int, rows: bytes) -> Path:
    """Save a PNG of `size` = (height, width) with the bits and the color type that its header is to name."""
    header = struct.pack(">IIBBBBB", size[1], size[0], bits, color, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def save_twelve_bit_tiff(path: Path, values: np.ndarray) -> Path:
    """Save (H, W) values below 4096 as a gray TIFF of 12 bits a pixel, which Pillow reads but does not write."""
    height, width = values.shape
    bits = (values[..., None] >> np.arange(11, -1, -1)) & 1  # (H, W) -> (H, W, 12), the highest bit first
    data = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    entries = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    directory = struct.pack("<H", len(entries)) + fields + bytes(4)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory)
    return path


def save_bomb(path: Path, size: tuple[int, int]) -> Path:
    """Save an RGB PNG that claims to be (height, width) large and holds next to no pixels."""
    return save_raw_png(path, size, 8, 2, b"\0" * 100)


def save_turned(path: Path, seed: int, orientation: int, size: tuple[int, int] = (12, 16)) -> Path:
    """Save a JPEG whose camera says that it must be turned to stand upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, size)).save(path, exif=exif, quality=95)
    return path


def truncate(path: Path, share: float = 0.6) -> Path:
    """Cut a file short."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def write_tags(path: Path, tags: dict[str, str]) -> Path:
    """Write a table of tags."""
    lines = ["image_id,labels", *(f"{image_id},{labels}" for image_id, labels in tags.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_annotation(path: Path, *objects: tuple[str, int]) -> Path:
    """Write a VOC annotation of (name, difficult) objects."""
    entries = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><part><name>head</name></part></object>"
        for name, difficult in objects
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>x.jpg</filename>{entries}</annotation>")
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """Relative name -> bytes of the files that make up a result, without hidden ones."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
