"""Masks as the run lengths of Label Studio's brush.

The code packs the bytes of an RGBA image (rle-pack by K. Schmidt, which Label Studio's front end uses): 32 bits for
their number, 5 for the bits of a byte less one, four times 4 for the bits of each size of a run less one; then for
every run one bit (1: a byte repeated, 0: bytes one by one), 2 bits for its size, its length less one, and its byte or
bytes.  A mask is what the alpha channel says.
"""

from collections.abc import Sequence

import numpy as np

from tag2mask.tasks.mask_codecs.runs import BadCode, runs_of

RUN_BITS = (3, 4, 8, 16)
"""Bits of the lengths of the four sizes of a run."""
CHANNELS = 4
OPAQUE = 128
"""Alpha from which a pixel belongs to the mask; a brush has soft edges."""


def encode(mask: np.ndarray) -> list[int]:
    """Bytes of the code of an (H, W) bool mask."""
    lengths, inside = runs_of(mask.ravel())
    bits = [f"{mask.size * CHANNELS:032b}", f"{8 - 1:05b}", *(f"{bits - 1:04b}" for bits in RUN_BITS)]
    for length, is_inside in zip((lengths * CHANNELS).tolist(), inside.tolist(), strict=True):
        byte = "1" * 8 if is_inside else "0" * 8
        while length:
            part = min(length, 2 ** RUN_BITS[-1])
            size = next(size for size, width in enumerate(RUN_BITS) if part <= 2**width)
            bits.append(f"1{size:02b}{part - 1:0{RUN_BITS[size]}b}{byte}")
            length -= part
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode(code: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of a code.

    Args:
        code: bytes 0 to 255.
        size: (height, width) of the image, in pixels.

    Raises:
        BadCode: no bytes, cut short, or of an image of another size.
    """
    try:
        text = "".join(f"{byte:08b}" for byte in bytes(code))
    except (TypeError, ValueError) as error:
        raise BadCode(f"is no list of bytes ({error})") from error
    if len(text) < 53:
        raise BadCode(f"has {len(code)} bytes, fewer than its head")
    count, word = int(text[:32], 2), int(text[32:37], 2) + 1
    if count != size[0] * size[1] * CHANNELS or word != 8:
        raise BadCode(f"holds {count} bytes of {word} bits, not {CHANNELS} of 8 for each of {size[1]}x{size[0]} pixels")
    widths = [int(text[at : at + 4], 2) + 1 for at in range(37, 53, 4)]
    values = np.zeros(count, np.uint8)
    done, at = 0, 53
    while done < count:
        width = widths[int(text[at + 1 : at + 3] or "0", 2)]
        head = at + 3 + width
        if head >= len(text):
            raise BadCode(f"is cut short after {done} of {count} bytes")
        length, repeated = int(text[at + 3 : head], 2) + 1, text[at] == "1"
        at = head + (8 if repeated else 8 * length)
        if done + length > count or at > len(text):
            raise BadCode(f"is cut short after {done} of {count} bytes")
        block = text[head:at]
        values[done : done + length] = [int(block[i : i + 8], 2) for i in range(0, len(block), 8)]
        done += length
    return (values[CHANNELS - 1 :: CHANNELS] >= OPAQUE).reshape(size)
