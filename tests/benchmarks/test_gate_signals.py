"""Which mask-free signals tell a good label set from a bad one: the table from which the gate's thresholds were chosen.

Label sets, good and bad, are made from the artifacts of a finished run of `configs/voc-mini.yaml` and measured twice:
without masks, as the gate does, and with them.  Each signal's rank correlation with the mean IoU says what it is worth.
Thresholds may be chosen on one part of the sets alone; what they are worth is told by the others, which are held out.

The images' tags are shuffled under the run's own networks, which learned the right tags; networks that learned the
wrong ones would agree with themselves better.  The release before, for `changed_images`, is the run's own labels.

Environment  TAG2MASK_VOC_STORE   the store of the finished run (`artifacts`); it is only read
             TAG2MASK_BENCHMARK   work folder (`artifacts/.benchmark`); sets that lie there are taken over
Writes       gate/gate_signals.csv, gate/gate_signals.md, gate/gate_correlations.csv
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from tag2mask.configs.load import load_config
from tag2mask.configs.schema import Config, Evaluation, Release
from tag2mask.tasks import evaluate, measure_labels
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.release.comparison import compare_maps
from tag2mask.tasks.release.gate import SIGNALS, judge
from tag2mask.tasks.store.files import read_json
from tests.benchmarks.gate_damages import MASKS, damaged_sets
from tests.benchmarks.gate_sets import ROUND_1, RUNTIME, WORK, Evidence, LabelSet, evidence_of_run, sets_of_stages

SETTINGS = Path(__file__).parents[2] / "configs" / "voc-mini.yaml"
BAD, GOOD = 0.2, 0.1
"""A set is bad if its mean IoU is at least so far below that of labels 1, and good if it is less than this below."""
FIGURES = [figure for _, figure in SIGNALS.values() if figure not in ("miou", "miou_drop")]


def measure(config: Config, given: Evidence, name: str, label_set: LabelSet) -> dict[str, Any]:
    """The row of a set: signals, what the gate says of them, and the mean IoU with the masks."""
    labels, against = label_set.labels, label_set.against
    folder = WORK / "measured" / name.replace(" ", "_")
    shutil.rmtree(folder, ignore_errors=True)
    measure_labels.run(
        config.measurement,
        folder / "signals",
        RUNTIME,
        dataset=against.dataset,
        labels=labels,
        cams=against.cams,
        saliency=against.saliency,
        predictions=against.predictions,
    )
    arguments = {"kind": "labels", "split": "train", "title": name, "dataset": given.dataset, "masks": given.masks}
    evaluate.run(Evaluation(), folder / "scores", RUNTIME, subject=labels, **arguments)
    signals, scores = read_json(folder / "signals" / "metrics.json"), read_json(folder / "scores" / "metrics.json")
    ids = ImageIndex.read(given.dataset).split("train").ids
    pairs = ((read_labels(path / f"{image_id}.png") for path in (given.labels, labels)) for image_id in ids)
    limit = config.release.changed_pixels
    changed = [compare_maps("", before, after).share > limit for before, after in pairs]
    signals |= {"changed_images": sum(changed) / len(changed)}
    failed = [signal.signal for signal in judge(signals, Release()).signals if signal.fails]
    first = [signal for signal in failed if signal != "changed_images"]
    return {
        "set": name,
        "miou": scores["miou"],
        "miou_labeled": scores["miou_labeled"],
        "held_out": label_set.held_out,
        "verdict": "kept back" if first else "released",
        "failed": " ".join(failed),
        **{figure: signals.get(figure) for figure in FIGURES},
        "without_foreground": signals["without_foreground"],
    }


def correlations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spearman's rank correlation of each signal with both mean IoUs, the strongest first."""
    found = []
    for figure in FIGURES:
        known = [row for row in rows if row[figure] is not None]
        values = [row[figure] for row in known]
        row: dict[str, Any] = {"signal": figure, "sets": len(known)}
        for score in ("miou", "miou_labeled"):
            varies = len(set(values)) > 1
            row[score] = float(stats.spearmanr(values, [r[score] for r in known]).statistic) if varies else math.nan
        found.append(row)
    return sorted(found, key=lambda row: -abs(row["miou"]) if math.isfinite(row["miou"]) else 1)


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table; figures with two decimals."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[f"{v:.2f}" if isinstance(v, float) else "" if v is None else str(v) for v in r.values()] for r in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def verdicts(rows: Sequence[Mapping[str, Any]], own: float) -> list[dict[str, Any]]:
    """How many good, middling and bad sets are released, of those that thresholds were chosen on and of the others."""
    found = []
    for held_out in (False, True):
        part = [row for row in rows if row["held_out"] == held_out]
        kinds = {
            "good": [row for row in part if row["miou"] > own - GOOD],
            "between": [row for row in part if own - BAD < row["miou"] <= own - GOOD],
            "bad": [row for row in part if row["miou"] <= own - BAD],
        }
        counts = {
            k: f"{sum(r['verdict'] == 'released' for r in of_kind)} of {len(of_kind)}" for k, of_kind in kinds.items()
        }
        found.append(
            {"sets": "held out" if held_out else "looked at", **{f"{k}, released": c for k, c in counts.items()}}
        )
    return found


@pytest.mark.benchmark
def test_gate_keeps_back_the_bad_sets_and_lets_the_good_ones_through() -> None:
    """Without masks, the default thresholds release the run's own labels, and no set with less than half their mIoU."""
    config = load_config(SETTINGS)
    given = evidence_of_run(config)
    torch.set_num_threads(1)
    WORK.mkdir(parents=True, exist_ok=True)
    sets = sets_of_stages(config, given)
    sets |= damaged_sets(given, sets)
    rows = [measure(config, given, name, label_set) for name, label_set in sets.items()]
    rows.sort(key=lambda row: -row["miou"])
    write_table(WORK / "gate_signals.csv", rows)
    made = [row for row in rows if row["set"] != MASKS]
    ranks = correlations(made)
    write_table(WORK / "gate_correlations.csv", ranks)
    own = next(row["miou"] for row in rows if row["set"] == ROUND_1)
    counts = verdicts(made, own)
    tables = "\n".join(map(as_markdown, (rows, ranks, counts)))
    (WORK / "gate_signals.md").write_text(tables, encoding="utf-8")
    print(f"\n{tables}")
    by_name = {row["set"]: row for row in rows}
    assert sum(row["held_out"] for row in rows) >= 12
    assert by_name[ROUND_1]["verdict"] == by_name[MASKS]["verdict"] == "released"
    assert [row["set"] for row in made if row["miou"] < own / 2 and row["verdict"] == "released"] == []
