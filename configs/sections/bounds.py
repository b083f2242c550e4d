"""Largest values of settings, with the reason: a slip of a digit is refused before hours of work, not by the machine.

They are far above what anybody has used, and none of them is a recommendation.
"""

from collections.abc import Iterable
from typing import Any

_SIDE = 4096, "an image of this side takes 200 MB before the first layer"
_SCALE = 8, "images that are enlarged further show nothing new and fill the memory"
_BATCH = 4096, "no memory holds so many images at once"
_CHANNELS = 8192, "one 3x3 convolution between so many channels has 600 million weights"
_STEPS = 10_000_000, "at ten steps a second they take eleven days"
_PIXELS = 4096, "that is wider than any image may be"
MOST: dict[str, tuple[float, str]] = {
    "rounds": (20, "labels hardly change after the third round, and each trains a segmenter"),
    "round": (20, "there are no more rounds than that"),
    "image_size": _SIDE,
    "crop_size": _SIDE,
    "scales": _SCALE,
    "resize": _SCALE,
    "train_scales": _SCALE,
    "batch_size": _BATCH,
    "micro_batch": _BATCH,
    "epochs": (100_000, "at a minute each they take ten weeks"),
    "accumulate_from": (100_000, "there are no more epochs than that"),
    "feature_copies": (1000, "each is computed and kept for every image"),
    "drop_epochs": (100_000, "there are no more epochs than that"),
    "iterations": _STEPS,
    "Refinement.iterations": (1000, "mean-field inference stands still after some ten steps"),
    "head_channels": _CHANNELS,
    "channels": _CHANNELS,
    "key_channels": _CHANNELS,
    "detail_channels": _CHANNELS,
    "low_level_channels": _CHANNELS,
    "nodes": _CHANNELS,
    "states": _CHANNELS,
    "head_convolutions": (64, "so deep a head does not learn"),
    "rates": (1024, "no feature map is so wide"),
    "dilation": _PIXELS,
    "gaussian_xy": _PIXELS,
    "bilateral_xy": _PIXELS,
    "superpixels": (10_000, "a table of all pairs of them takes 800 MB"),
    "grids": (256, "positions are compared in pairs, and a table of more of them takes 17 GB"),
    "group_size": (1000, "no memory holds so large a group at once"),
    "references": (10_000, "the time grows with their square"),
    "regroupings": (1000, "each predicts all maps anew"),
    "attention_strides": (32, "no backbone has a larger stride"),
    "thumbnail": (2048, "the report holds all pictures in one page"),
    "images": (2000, "the report holds all of them in one page"),
    "minimum_images": (10_000_000, "no dataset has so many images of every class"),
    "minimum_tags": (254, "there are no more classes than that"),
    "first_round_tags": (254, "there are no more classes than that"),
    "seed": (2**63 - 1, "generators of random numbers take no more bits"),
}
"""Field, or `Section.field` where it differs from section to section -> largest value, and why.

Of a field with several values each is bounded.
"""
MOST_PIXELS_OF_A_SCALE = 8192
"""Largest side of an image after it was scaled."""


def too_large(kinds: Iterable[type], values: dict[str, Any]) -> str:
    """What is wrong with values that are beyond their bounds; "" if nothing is.

    Args:
        kinds: the section and the classes it is derived from, the nearest first.
        values: field -> value.
    """
    names = [kind.__name__ for kind in kinds]
    for field, value in values.items():
        most, reason = next((MOST[key] for key in (*(f"{n}.{field}" for n in names), field) if key in MOST), (None, ""))
        for number in value if isinstance(value, tuple) else (value,):
            if most is not None and isinstance(number, int | float) and number > most:
                return f"{field} {number:g} is above {most:g}: {reason}"
    side, scales = values.get("image_size"), values.get("scales")
    if side and scales and side * max(scales) > MOST_PIXELS_OF_A_SCALE:
        return f"image_size {side} times scale {max(scales):g} is above {MOST_PIXELS_OF_A_SCALE} pixels: {_SIDE[1]}"
    return ""
