"""Figures of co-saliency maps: each (image, tag) against the mask of that one class.

Twice: with the measures of single-image saliency, of the maps as they are, and by the field's co-saliency protocol,
which stretches every map to its own range before S, E and F and takes other thresholds.  Both over all pairs, as
published tables have it (one curve, whose best threshold is that of all), and as means over the tags' own figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.tasks.dataset.ground_truth import VOID
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.metrics.cosaliency_protocol import CosaliencyProtocol, Sums, measure_map
from tag2mask.tasks.metrics.saliency_scores import PER_IMAGE, SaliencyMeasures
from tag2mask.tasks.metrics.step_scores import StepFiles, StepScores
from tag2mask.tasks.store.runtime import StageRuntime

PROTOCOL = "protocol_"
"""Before the names of the protocol's figures."""
VOID_NOTE = (
    "Void pixels (255 in the masks) are left out of every figure; for S and weighted F they are background that the "
    "map gets right"
)


def pairs_of(index: ImageIndex, image_ids: Sequence[str]) -> tuple[str, ...]:
    """`<class number>/<id>` of every tag of these images, by class and then in the order of the images."""
    records = list(index.only(image_ids))
    numbers = range(1, len(index.classes) + 1)
    return tuple(f"{number}/{record.image_id}" for number in numbers for record in records if number in record.tags)


def measure_pair(files: StepFiles, pair: str) -> tuple[SaliencyMeasures, Sums] | None:
    """Measure the map of a pair in both ways; None where the mask is nothing but void."""
    number, _, image_id = pair.partition("/")
    saliency, target = read_gray(files.path(pair)), files.truth.mask(image_id)
    measured = target != VOID
    if not measured.any():
        return None
    one = SaliencyMeasures()
    one.step(saliency, target == int(number), measured)
    return one, measure_map(saliency, target == int(number), measured)


def score_cosaliency(files: StepFiles, names: Sequence[str], out: Path, runtime: StageRuntime) -> StepScores:
    """Score the maps of pairs; `files.image_ids` are those of `pairs_of`.

    Args:
        files: the maps beside the masks.
        names: of the classes, background first.
        out: the stage's folder.
        runtime: executor, workers and progress.

    Returns:
        Figures by tag, and their mean over the tags as `group_<figure>`; and over all pairs, whatever their tag.  The
        protocol's figures by tag, and over all pairs as `protocol_<figure>`.  Pairs whose image is nothing but void are
        left out; those whose mask lacks the class have an F-measure of 0.
    """
    protocol = CosaliencyProtocol(_groups_of(files.image_ids))
    total, by_class, per_image = SaliencyMeasures(), dict[int, SaliencyMeasures](), list[dict[str, Any]]()
    for pair, both in files.each(measure_pair, out, runtime):  # two curves a pair are too much to keep
        number, _, image_id = pair.partition("/")
        if both is None:
            protocol.leave_out(number, image_id)
            continue
        one, sums = both
        for measures in (total, by_class.setdefault(int(number), SaliencyMeasures())):
            measures.merge(one)
        protocol.add(number, image_id, sums)
        per_image.append(_pair_row(pair, names, one))
    if not by_class:
        return StepScores({}, {"note": "every mask is nothing but void"}, [], [])
    overall, figures = total.summary(), {number: measures.summary() for number, measures in by_class.items()}
    result = protocol.result()
    rows: list[dict[str, Any]] = [
        {"class": names[number], "pairs": by_class[number].f.result().images, **own} for number, own in figures.items()
    ]
    means = {f"group_{name}": float(np.mean([own[name] for own in figures.values()])) for name in overall}
    by_group = {names[int(number)]: asdict(scores) for number, scores in result.by_group.items()}
    by_protocol = {f"{PROTOCOL}{name}": value for name, value in _without_counts(asdict(result.images)).items()}
    details = {
        "pairs": len(per_image),
        "images_all_void": len(files.image_ids) - len(per_image),
        "protocol_of_groups": asdict(result.groups),
        "note": VOID_NOTE,
    }
    per_group = [{"group": name, **figures} for name, figures in by_group.items()]
    return StepScores({**overall, **means, **by_protocol}, details, per_image, rows, per_group)


def _groups_of(pairs: Sequence[str]) -> dict[str, list[str]]:
    """Class number -> ids of its images."""
    groups: dict[str, list[str]] = {}
    for pair in pairs:
        number, _, image_id = pair.partition("/")
        groups.setdefault(number, []).append(image_id)
    return groups


def _without_counts(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in scores.items() if name not in ("images", "empty_targets")}


def _pair_row(pair: str, names: Sequence[str], one: SaliencyMeasures) -> dict[str, Any]:
    number, _, image_id = pair.partition("/")
    figures = one.summary()
    return {"image_id": image_id, "class": names[int(number)], **{name: figures[name] for name in PER_IMAGE}}
