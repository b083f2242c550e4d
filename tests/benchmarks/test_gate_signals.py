"""Which mask-free signals tell a good label set from a bad one: the table from which the gate's thresholds were chosen.

Label sets, good and bad, are made from the artifacts of a finished run of `configs/voc-mini.yaml` and measured twice:
without masks, as the gate does, and with them.  Each signal's rank correlation with the mean IoU says what it is worth.

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
from tests.benchmarks.gate_sets import MASKS, RUNTIME, WORK, Evidence, evidence_of_run, label_sets

SETTINGS = Path(__file__).parents[2] / "configs" / "voc-mini.yaml"
FIGURES = [figure for _, figure in SIGNALS.values() if figure not in ("miou", "miou_drop")]


def measure(config: Config, given: Evidence, name: str, labels: Path, held_against: Evidence) -> dict[str, Any]:
    """The row of a set: signals, what the gate says of them, and the mean IoU with the masks."""
    folder = WORK / "measured" / name.replace(" ", "_")
    shutil.rmtree(folder, ignore_errors=True)
    measure_labels.run(
        config.measurement,
        folder / "signals",
        RUNTIME,
        dataset=held_against.dataset,
        labels=labels,
        cams=held_against.cams,
        saliency=held_against.saliency,
        predictions=held_against.predictions,
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


@pytest.mark.benchmark
def test_gate_keeps_back_the_bad_sets_and_lets_the_good_ones_through() -> None:
    """Without masks, the default thresholds release no set far below the run's own, and the run's own they release."""
    config = load_config(SETTINGS)
    given = evidence_of_run(config)
    torch.set_num_threads(1)
    WORK.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (labels, held_against) in label_sets(config, given).items():
        rows.append(measure(config, given, name, labels, held_against))
    rows.sort(key=lambda row: -row["miou"])
    write_table(WORK / "gate_signals.csv", rows)
    ranks = correlations([row for row in rows if row["set"] != MASKS])
    write_table(WORK / "gate_correlations.csv", ranks)
    tables = f"{as_markdown(rows)}\n{as_markdown(ranks)}"
    (WORK / "gate_signals.md").write_text(tables, encoding="utf-8")
    print(f"\n{tables}")
    by_name = {row["set"]: row for row in rows}
    assert len(rows) >= 12
    assert by_name["labels of round 1"]["verdict"] == by_name[MASKS]["verdict"] == "released"
    half = by_name["labels of round 1"]["miou"] / 2
    assert [row["set"] for row in rows if row["miou"] < half and row["verdict"] == "released"] == []
