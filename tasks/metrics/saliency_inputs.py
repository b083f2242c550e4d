"""What every measure of saliency maps takes: a soft map that fits its mask, and their counts at rising thresholds."""

import numpy as np

LEAST = float(np.spacing(1))
"""Added where a quotient of the field's measures could be zero by zero."""


def soft_map(prediction: np.ndarray, target: np.ndarray, *, stretch: bool) -> np.ndarray:
    """(H, W) floating in [0, 1] of a saliency map that fits its target.

    Args:
        prediction: (H, W) floating in [0, 1], or uint8 0-255.
        target: (H, W).
        stretch: bring the map to the range 0 .. 1 of its own (pysodmetrics' `normalize=True`); a flat map stays.

    Raises:
        ValueError: shapes, types or values that do not fit.
    """
    if prediction.shape != target.shape or prediction.ndim != 2 or prediction.size == 0:
        raise ValueError(
            f"the saliency map has shape {prediction.shape}, the target {target.shape}; both must be the same (H, W): "
            "resize the map to its mask first"
        )
    if prediction.dtype == np.uint8:
        prediction = prediction / 255
    if prediction.dtype not in (np.float32, np.float64):
        raise ValueError(f"a saliency map must be float32 or float64 in [0, 1], or uint8, not {prediction.dtype}")
    low, high = prediction.min(), prediction.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"a saliency map must lie in [0, 1], not in [{low:g}, {high:g}]; divide 8-bit values by 255")
    return (prediction - low) / (high - low) if stretch and high > low else prediction


def salient_mask(target: np.ndarray) -> np.ndarray:
    """(H, W) bool of a mask of salient objects, bool or uint8; above 127 is salient.

    Raises:
        ValueError: another type, or a mask of 0 and 1 as uint8, which would pass for an empty one.
    """
    if target.dtype == np.bool_:
        return target
    if target.dtype != np.uint8:
        raise ValueError(f"a mask of salient objects must be bool or uint8, not {target.dtype}")
    salient: np.ndarray = target > 127
    if target.any() and not salient.any():
        raise ValueError(
            f"a mask of salient objects as uint8 must be 0 and 255, but the largest value is {target.max()}; "
            "it would pass for an empty one: multiply it by 255, or make it bool"
        )
    return salient


def eight_bit_levels(soft: np.ndarray) -> np.ndarray:
    """Highest of the thresholds 0 .. 255 that each pixel passes: floor(255 p)."""
    return (soft * 255).astype(np.uint8)


def counts_at_thresholds(levels: np.ndarray, salient: np.ndarray, thresholds: int) -> tuple[np.ndarray, np.ndarray]:
    """How many salient and how many other pixels pass each threshold.

    Args:
        levels: (H, W) integers, the highest threshold that each pixel passes.
        salient: (H, W) bool.
        thresholds: their number T; levels lie in 0 .. T - 1.

    Returns:
        (T,) salient pixels at this level and above, and (T,) of the others.
    """
    flat = levels.ravel() + salient.ravel() * np.int64(thresholds)
    pairs = np.bincount(flat, minlength=2 * thresholds).reshape(2, thresholds)
    false, hits = pairs[:, ::-1].cumsum(axis=1)[:, ::-1]  # (2, T) by level -> (2, T) at this level and above
    return hits, false


def adaptive_counts(soft: np.ndarray, salient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1,) salient pixels and (1,) others at or above the adaptive threshold, twice the map's mean, at most 1."""
    passed = soft >= min(2 * soft.mean(), 1)
    hits = np.count_nonzero(passed & salient)
    return np.array([hits]), np.array([np.count_nonzero(passed) - hits])
