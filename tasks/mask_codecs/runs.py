"""Runs of equal values, of which all run-length codes are made."""

import numpy as np


class BadCode(ValueError):
    """A coded mask is damaged, or does not fit its image; the message says how."""


def runs_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (R,) and values (R,) of the runs of equal neighbors in (N,) values."""
    if not values.size:
        return np.zeros(0, np.int64), values
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    return np.diff(np.append(starts, values.size)), values[starts]


def mask_of(lengths: list[int], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of run lengths by rows that begin with a run outside of the mask, which may be 0 long.

    Raises:
        BadCode: a length below 0, or not as many pixels as the size has.
    """
    pixels = size[0] * size[1]
    if min(lengths, default=0) < 0 or sum(lengths) != pixels:
        raise BadCode(f"its runs have {sum(lengths)} pixels, not {size[1]}x{size[0]} = {pixels}")
    flags = np.arange(len(lengths)) % 2 == 1
    return np.repeat(flags, lengths).reshape(size)
