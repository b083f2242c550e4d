"""Readers of coded masks, slow and plain, after the formats' descriptions: oracles for ours."""

from collections.abc import Mapping, Sequence

import numpy as np


class Bits:
    """Bits of bytes, read one after the other."""

    def __init__(self, code: Sequence[int]) -> None:
        self.code, self.at = code, 0

    def read(self, count: int) -> int:
        """The next bits as a number, the highest first."""
        value = 0
        for _ in range(count):
            value = 2 * value + (self.code[self.at // 8] >> (7 - self.at % 8) & 1)
            self.at += 1
        return value


def brush_mask(code: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of Label Studio's brush, as its documentation of the packed code says."""
    bits = Bits(code)
    count, word = bits.read(32), bits.read(5) + 1
    widths = [bits.read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated, width = bits.read(1), widths[bits.read(2)]
        length = bits.read(width) + 1
        values += [bits.read(word)] * length if repeated else [bits.read(word) for _ in range(length)]
    return np.array(values).reshape(*size, 4)[:, :, 3] > 0


def cvat_mask(attributes: Mapping[str, str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of a `<mask>` of CVAT."""
    mask, value = np.zeros(size, bool), False
    left, top, width = (int(attributes[name]) for name in ("left", "top", "width"))
    at = 0
    for length in attributes["rle"].split(","):
        for _ in range(int(length)):
            mask[top + at // width, left + at % width] = value
            at += 1
        value = not value
    assert at == width * int(attributes["height"])
    return mask


def centers_within(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels from whose center a ray to the right crosses a polygon (N, 2) of x, y oddly often."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for (x, y), (to_x, to_y) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y != to_y:
            inside ^= ((y > rows) != (to_y > rows)) & (columns < x + (rows - y) * (to_x - x) / (to_y - y))
    return inside
