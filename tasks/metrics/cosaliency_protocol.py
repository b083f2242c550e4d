"""Measures of co-saliency maps, group by group, in the convention of the field's common evaluation (eval-co-sod)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tag2mask.tasks.metrics.enhanced_alignment import enhanced_alignment
from tag2mask.tasks.metrics.saliency import f_measure
from tag2mask.tasks.metrics.saliency_inputs import counts_at_thresholds, salient_mask, soft_map
from tag2mask.tasks.metrics.structure_measure import structure_measure

THRESHOLDS = 255
HIGHEST = 1 - 1e-10
"""Last of the evenly spaced thresholds from 0 on."""
BETA_SQUARED = 0.3
LISTED = 5
"""Missing maps that a message lists."""


@dataclass(frozen=True)
class CosaliencyScores:
    """Figures of some maps, in [0, 1]; all but the error are better the higher they are."""

    mae: float
    """Mean absolute error of the maps as they are; the other figures are of maps stretched to their own range."""
    s_measure: float
    max_e: float
    mean_e: float
    max_f: float
    mean_f: float
    images: int
    empty_targets: int
    """Images without a salient pixel: their F-measure is 0."""


@dataclass(frozen=True)
class CosaliencyResult:
    """Figures of all groups."""

    images: CosaliencyScores
    """All images as one set, which is what published tables show."""
    groups: CosaliencyScores
    """Means of the groups' figures, so that a large group weighs no more than a small one; counts are sums."""
    by_group: Mapping[str, CosaliencyScores]


@dataclass
class Sums:
    """What is gathered of some images."""

    errors: float = 0.0
    structures: float = 0.0
    alignment: np.ndarray = field(default_factory=lambda: np.zeros(THRESHOLDS))
    f: np.ndarray = field(default_factory=lambda: np.zeros(THRESHOLDS))
    images: int = 0
    empty_targets: int = 0

    def add(self, other: "Sums") -> None:
        """Take over the images of another one."""
        self.errors += other.errors
        self.structures += other.structures
        self.alignment = self.alignment + other.alignment
        self.f = self.f + other.f
        self.images += other.images
        self.empty_targets += other.empty_targets

    def scores(self) -> CosaliencyScores:
        """The figures of all images so far, one at least."""
        alignment, f = self.alignment / self.images, self.f / self.images
        return CosaliencyScores(
            mae=self.errors / self.images,
            s_measure=self.structures / self.images,
            max_e=float(alignment.max()),
            mean_e=float(alignment.mean()),
            max_f=float(f.max()),
            mean_f=float(f.mean()),
            images=self.images,
            empty_targets=self.empty_targets,
        )


class CosaliencyProtocol:
    """MAE of the map as it is; S, and F and E at 255 thresholds, of the map stretched to its own range.

    A pixel passes the thresholds k (1 - 1e-10) / 254, k = 0 .. 254, that its value reaches.  Deviations from the common
    program: a map that is missing is an error and not left out; quadrants of the S-measure, and measures of empty
    targets, are those of `structure_measure` and `enhanced_alignment`; thresholds are compared in double precision.
    """

    def __init__(self, expected: Mapping[str, Iterable[str]]) -> None:
        """Start empty.

        Args:
            expected: group -> ids of its images, all of which must have come before there is a result.
        """
        self.expected = frozenset((group, image_id) for group, image_ids in expected.items() for image_id in image_ids)
        self.missing = set(self.expected)
        self.sums: dict[str, Sums] = {}

    def step(
        self,
        group: str,
        image_id: str,
        prediction: np.ndarray,
        target: np.ndarray,
        measured: np.ndarray | None = None,
    ) -> None:
        """Add one map; the arrays are those of `measure_map`.

        Args:
            group: name of the group.
            image_id: id of the image, once in its group.
            prediction: the map.
            target: its mask.
            measured: where the mask says anything.

        Raises:
            ValueError: not expected or here already, or shapes, types or values that do not fit; the message names
                group and image.
        """
        try:
            sums = measure_map(prediction, target, measured)
        except ValueError as error:
            raise ValueError(f"{group}/{image_id}: {error}") from error
        self.add(group, image_id, sums)

    def add(self, group: str, image_id: str, sums: Sums) -> None:
        """Add one map that was measured already.

        Raises:
            ValueError: not expected, or here already; the message names group and image.
        """
        self.leave_out(group, image_id)
        self.sums.setdefault(group, Sums()).add(sums)

    def leave_out(self, group: str, image_id: str) -> None:
        """Do not expect a map any more: its mask says nothing.

        Raises:
            ValueError: not expected, or here already; the message names group and image.
        """
        if (group, image_id) not in self.missing:
            raise ValueError(f"{group}/{image_id}: is not among the maps that are expected, or was measured already")
        self.missing.remove((group, image_id))

    def result(self) -> CosaliencyResult:
        """The figures of all groups.

        Raises:
            ValueError: maps are missing, or none was expected; the message names some.
        """
        if self.missing:
            names = sorted(f"{group}/{image_id}" for group, image_id in self.missing)
            shown = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
            raise ValueError(f"{len(names)} co-saliency maps are missing, make them first: {shown}")
        if not self.sums:
            raise ValueError("there is no image to measure the co-saliency of")
        everything = Sums()
        for group in sorted(self.sums):
            everything.add(self.sums[group])
        by_group = {group: self.sums[group].scores() for group in sorted(self.sums)}
        return CosaliencyResult(everything.scores(), _mean(list(by_group.values())), by_group)


def measure_map(prediction: np.ndarray, target: np.ndarray, measured: np.ndarray | None = None) -> Sums:
    """What one map adds.

    Args:
        prediction: (H, W) floating in [0, 1], or uint8 0-255, at the mask's size.
        target: (H, W) bool, or uint8 with 255 = salient.
        measured: (H, W) bool, False at void pixels, True at one at least; without it there are none.  Whatever the map
            says at a void pixel changes nothing: it counts neither in its range nor in error, E and F; for S, which
            needs the image whole, it is background that the map gets right.

    Raises:
        ValueError: shapes, types or values that do not fit.
    """
    whole, mask = soft_map(prediction, target, stretch=False), salient_mask(target)
    known = np.ones(mask.shape, bool) if measured is None else measured
    if known.shape != mask.shape or not known.any():
        raise ValueError(f"measured pixels {known.shape} must be some of the mask's {mask.shape}, and not none of them")
    raw, salient = whole[known], mask[known]  # (H, W) -> (measured pixels,)
    low, high = raw.min(), raw.max()
    soft = (raw - low) / (high - low) if high > low else np.zeros_like(raw)  # a flat map has no range
    last = THRESHOLDS - 1
    levels = np.minimum(np.floor(soft.astype(np.float64) * (last / HIGHEST)), last).astype(np.int64)
    hits, false = counts_at_thresholds(levels, salient, THRESHOLDS)
    total = int(np.count_nonzero(salient))
    stretched = np.zeros_like(whole)
    stretched[known] = soft
    return Sums(
        errors=float(np.abs(raw - salient).mean()),
        structures=structure_measure(stretched, mask & known),
        alignment=enhanced_alignment(hits, false, total, salient.size),
        f=f_measure(hits, false, total, BETA_SQUARED),
        images=1,
        empty_targets=int(total == 0),
    )


def _mean(scores: list[CosaliencyScores]) -> CosaliencyScores:
    names = ("mae", "s_measure", "max_e", "mean_e", "max_f", "mean_f")
    means = {name: float(np.mean([getattr(one, name) for one in scores])) for name in names}
    return CosaliencyScores(
        **means, images=sum(one.images for one in scores), empty_targets=sum(one.empty_targets for one in scores)
    )
