"""Broken image files, drawn from a seed."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.breakage.cases import Case

FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}
NO_IMAGE = "is not an image that can be read"
DAMAGED = "is damaged or cut short|is not an image that can be read"
BOMB = "megapixels, above maximum_megapixels|is too large to be decoded safely"
PNG = b"\x89PNG\r\n\x1a\n"


def bad_images(seed: int) -> list[Case]:
    """The cases; which pixels and bytes are broken depends on the seed."""
    rng = np.random.default_rng(seed)
    return [*_damaged(rng), *_something_else(rng), *_without_one_reading(rng), *_bombs(), *_broken_pngs(rng)]


def encoded(rng: np.random.Generator, form: str, mode: str = "RGB") -> bytes:
    """A drawn image in a format."""
    pixels = rng.integers(0, 256, (23, 31, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, form)
    return buffer.getvalue()


def _damaged(rng: np.random.Generator) -> Iterator[Case]:
    for form, suffix in FORMATS.items():
        sound, name = encoded(rng, form), f"x{suffix}"
        begin = rng.integers(0, 256, 16, np.uint8).tobytes()
        yield Case(f"{form}, emptied", b"", r"is empty \(0 bytes\)", name)
        yield Case(f"{form}, cut to a tenth", sound[: len(sound) // 10], DAMAGED, name)
        yield Case(f"{form}, cut to a half", sound[: len(sound) // 2], DAMAGED, name)
        yield Case(f"{form}, another beginning", begin + sound[16:], DAMAGED, name)


def _something_else(rng: np.random.Generator) -> Iterator[Case]:
    others = {
        "a page": b"<!DOCTYPE html><title>404 Not Found</title>",
        "a text": b"image_id,labels\na,cat\n",
        "a drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "a document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "a GIF": encoded(rng, "GIF"),
        "an ICO": encoded(rng, "ICO"),
        "an archive": b"PK\x03\x04" + rng.bytes(400),
        "a HEIC": b"\x00\x00\x00\x18ftypheic" + rng.bytes(400),
        "noise": b"\x01" + rng.bytes(4000),
        "zeros": bytes(4000),
    }
    for name, content in others.items():
        yield Case(name, content, NO_IMAGE, "x.jpg")


def _without_one_reading(rng: np.random.Generator) -> Iterator[Case]:
    for mode in ("F", "I"):
        values = Image.fromarray(rng.random((5, 7)).astype(np.float32)).convert(mode)
        buffer = io.BytesIO()
        values.save(buffer, "TIFF")
        yield Case(f"values of mode {mode}", buffer.getvalue(), f"has mode {mode}, which has no one reading", "x.tif")
    buffer = io.BytesIO()
    Image.new("LAB", (7, 5)).save(buffer, "TIFF")
    yield Case("CIELAB", buffer.getvalue(), "has mode LAB, which has no one reading", "x.tif")


def _bombs() -> Iterator[Case]:
    for width, height in ((100_000, 100_000), (60_000, 10), (2**31 - 1, 2**31 - 1)):
        reported = BOMB if width * height > 10_000_000 else DAMAGED
        yield Case(f"a bomb of {width}x{height}", png((width, height), b"\0" * 50), reported, "x.png")
    header = struct.pack("<2sIHHI", b"BM", 100, 0, 0, 54)
    bmp = header + struct.pack("<IiiHHIIiiII", 40, 90_000, 90_000, 1, 24, *[0] * 6) + bytes(46)
    yield Case("a bomb as BMP", bmp, BOMB, "x.bmp")


def _broken_pngs(rng: np.random.Generator) -> Iterator[Case]:
    rows = b"".join(b"\0" + rng.bytes(9) for _ in range(4))
    sound = png((3, 4), rows)
    place = sound.index(b"IDAT")
    yield Case("a PNG of no width", png((0, 4), rows), DAMAGED, "x.png")
    yield Case("a PNG without pixels", sound[: place - 4] + chunk(b"IEND", b""), DAMAGED, "x.png")
    stopped = zlib.compress(rng.bytes(9000))[:99]
    yield Case("a PNG whose pixels stop", png((30, 400), b"", packed=stopped), DAMAGED, "x.png")
    yield Case("a PNG whose pixels do not unpack", png((3, 4), b"", packed=rng.bytes(40)), DAMAGED, "x.png")
    yield Case("a PNG with a wrong check of its header", sound[:29] + b"\0\0\0\0" + sound[33:], DAMAGED, "x.png")
    yield Case("a PNG of 3 bits", png((3, 4), rows, bits=3), DAMAGED, "x.png")
    yield Case("a JPEG of its mark alone", b"\xff\xd8\xff\xe0", DAMAGED, "x.jpg")
    yield Case("a TIFF whose folder is its own next", b"II*\0\x08\0\0\0\0\0\x08\0\0\0", DAMAGED, "x.tif")


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(size: tuple[int, int], rows: bytes, *, bits: int = 8, packed: bytes | None = None) -> bytes:
    """An RGB PNG that says it is (width, height) large."""
    header = struct.pack(">IIBBBBB", *size, bits, 2, 0, 0, 0)
    pixels = zlib.compress(rows) if packed is None else packed
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
