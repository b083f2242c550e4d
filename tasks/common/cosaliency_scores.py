"""Figures of co-saliency maps: each (photograph, tag) against the mask of that one class.

As the field measures groups: the mean over a group's photographs, then the mean over the groups.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tag2mask.tasks.common.image_index import ImageIndex
from tag2mask.tasks.common.label_images import read_grey
from tag2mask.tasks.common.metrics import VOID
from tag2mask.tasks.common.runtime import StageRuntime
from tag2mask.tasks.common.saliency_metrics import SaliencyError, SaliencyFMeasure
from tag2mask.tasks.common.step_scores import StepFiles, StepScores

FIGURES = ("mae", "max_f", "mean_f", "adaptive_f")

Measures = tuple[SaliencyError, SaliencyFMeasure]


def pairs_of(index: ImageIndex, image_ids: Sequence[str]) -> tuple[str, ...]:
    """`<class number>/<id>` of every tag of these images, by class and then in the order of the images."""
    records = list(index.only(image_ids))
    numbers = range(1, len(index.classes) + 1)
    return tuple(f"{number}/{record.image_id}" for number in numbers for record in records if number in record.tags)


def score_cosaliency(files: StepFiles, names: Sequence[str], runtime: StageRuntime) -> StepScores:
    """Score the maps of pairs; `files.image_ids` are those of `pairs_of`.

    Args:
        files: the maps beside the masks.
        names: of the classes, background first.
        runtime: threads and progress.

    Returns:
        Figures by tag, and their mean over the tags as `group_<figure>`; and over all pairs, whatever their tag.  Pairs
        whose image is nothing but void are left out; those whose mask lacks the class have an F-measure of 0.
    """

    def process(pair: str) -> Measures | None:
        number, _, image_id = pair.partition("/")
        saliency, target = read_grey(files.path(pair)), files.truth.mask(image_id)
        if saliency.shape != target.shape:
            raise ValueError(f"the map has shape {saliency.shape}, the mask {target.shape}; they must be equal")
        measured = target != VOID
        if not measured.any():
            return None
        one = SaliencyError(), SaliencyFMeasure()
        for metric in one:
            metric.step(saliency[measured][None], (target == int(number))[measured][None])
        return one

    found = {pair: one for pair, one in files.each(process, runtime) if one is not None}
    by_class: dict[int, list[Measures]] = {}
    for pair, one in found.items():
        by_class.setdefault(int(pair.partition("/")[0]), []).append(one)
    rows = [{"class": names[number], "pairs": len(ones), **_figures(ones)} for number, ones in by_class.items()]
    if not rows:
        return StepScores({}, {"note": "every mask is nothing but void"}, [], [])
    means = {f"group_{name}": float(np.mean([row[name] for row in rows])) for name in FIGURES}
    per_image = [_pair_row(pair, names, one) for pair, one in found.items()]
    counts = {"pairs": len(found), "images_all_void": len(files.image_ids) - len(found)}
    return StepScores({**_figures(list(found.values())), **means}, counts, per_image, rows)


def _figures(ones: Sequence[Measures]) -> dict[str, Any]:
    """Figures over several pairs."""
    errors, f_measures = SaliencyError(), SaliencyFMeasure()
    for error, f_measure in ones:
        errors.merge(error)
        f_measures.merge(f_measure)
    f = f_measures.result()
    return {"mae": errors.result(), "max_f": f.maximum, "mean_f": f.mean, "adaptive_f": f.adaptive}


def _pair_row(pair: str, names: Sequence[str], one: Measures) -> dict[str, Any]:
    number, _, image_id = pair.partition("/")
    figures = {"mae": one[0].result(), "adaptive_f": one[1].adaptive[0]}
    return {"image_id": image_id, "class": names[int(number)], **figures}
