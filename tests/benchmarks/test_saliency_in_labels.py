"""What each saliency system does to the labels: labels 0 and labels 1 of voc-mini, plain and class-conditional.

`make benchmark-labels` prints the table of the README.  It uses the systems that `make benchmark-saliency` trained (and
trains those that are missing), so every system had the same images and steps; class maps are the same for all, and
so is the segmenter, with fewer steps than `configs/voc-mini.yaml` gives it.  Labels 1 are the mean of segmenters with
several seeds, as so short a training varies.

Environment  TAG2MASK_BENCHMARK   work folder that is kept, that of `make benchmark-saliency` (`artifacts/.benchmark`)
             TAG2MASK_VOC_STORE   store of a finished run of `configs/voc-mini.yaml`, whose class maps are then used
Writes       saliency-systems/labels.md, saliency-systems/labels.json
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import pytest
import torch

from tag2mask.configs.runtime import available_cores
from tag2mask.tasks.demo.scenes import write_demo
from tag2mask.tasks.store.runtime import StageRuntime
from tests.benchmarks.saliency_systems import Benchmark, figures_of
from tests.benchmarks.test_saliency_systems import CONFIGS, SETTINGS, TINY, report_every_100
from tests.flows.published_way import PUBLISHED

SEGMENTER = ("segmenter.iterations=500", "segmenter.first_round_tags=null", "attention.saliency_weight=0")
"""Fewer steps than the settings say, for the systems are compared with each other; all images teach, as published, and
class maps learn from tags alone."""
SEEDS = (0, 1, 2)
"""Of the segmenter, and so of labels 1."""
BY_TAG = "mining.class_conditional=true"
SYSTEMS: dict[str, tuple[str, ...]] = {
    "prior": ("saliency.provider=prior",),
    "reciprocal": ("saliency.provider=reciprocal",),
    "purnet": ("saliency.provider=purnet",),
    "reciprocal, then icnet by tag": ("cosaliency.provider=icnet", BY_TAG),
    "reciprocal, then gconet_plus by tag": ("cosaliency.provider=gconet_plus", BY_TAG),
    "reciprocal without masks, self-trained": ("saliency.targets=prior",),
}
"""System -> the settings that choose it."""
Rows = Mapping[str, Mapping[str, Mapping[str, float | None]]]


def measured(benchmark: Benchmark, changes: tuple[str, ...]) -> dict[str, dict[str, float | None]]:
    """System and step -> the evaluation's figures; the table so far is written after each system."""
    rows: dict[str, dict[str, dict[str, float | None]]] = {}
    for system, chosen in SYSTEMS.items():
        print(f"-- {system}", flush=True)
        group = next((change.partition("=")[2] for change in chosen if change.startswith("cosaliency.")), None)
        given = benchmark.group_settings(group) if group else []
        seeds = []
        for seed in SEEDS:
            config = benchmark.configured([*PUBLISHED, *given, *chosen, *changes, f"segmenter.seed={seed}"])
            seeds.append(benchmark.made(config, "evaluate-labels_0", "evaluate-labels_1"))
        rows[system] = {
            "labels_0": figures_of(seeds[0]["evaluate-labels_0"]),
            "labels_1": mean_of([figures_of(made["evaluate-labels_1"]) for made in seeds]),
        }
        (benchmark.work / "labels.md").write_text(markdown(rows), encoding="utf-8")
        (benchmark.work / "labels.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(markdown(rows), flush=True)
    return {f"{system}/{step}": figures for system, steps in rows.items() for step, figures in steps.items()}


def mean_of(seeds: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean of every figure that each seed has, and `lowest` and `highest` mIoU."""
    values = {key: [figures[key] for figures in seeds] for key in COLUMNS}
    present = {key: [value for value in column if value is not None] for key, column in values.items()}
    mean = {key: fmean(column) if len(column) == len(seeds) else None for key, column in present.items()}
    return mean | {"lowest": min(present["miou"]), "highest": max(present["miou"])}


COLUMNS = {
    "miou": "mIoU",
    "miou_as_background": "ignored as background",
    "miou_labeled": "of the labeled",
    "ignored_share": "ignored",
}
"""Figure -> its name in the table."""


def markdown(rows: Rows) -> str:
    """A table in percent, a line for each system."""
    head = ("saliency", *(f"labels {r}: {column}" for r in (0, 1) for column in COLUMNS.values()))
    lines = [f"| {' | '.join(head)} | labels 1: mIoU, lowest – highest |", "|---" * (len(head) + 1) + "|"]
    for system, steps in rows.items():
        cells = [percent(steps[step][key]) for step in ("labels_0", "labels_1") for key in COLUMNS]
        spread = f"{percent(steps['labels_1']['lowest'])} – {percent(steps['labels_1']['highest'])}"
        lines.append(f"| {' | '.join((system, *cells, spread))} |")
    return "\n".join(lines) + "\n"


def percent(figure: float | None) -> str:
    """A share as the table shows it; None: nothing is labeled."""
    return "–" if figure is None else f"{100 * figure:.1f}"


@pytest.mark.benchmark
@pytest.mark.usefixtures("as_in_a_run")
def test_saliency_in_labels_of_images() -> None:
    """Labels 0 from reciprocal attention are better than those from the prior."""
    torch.set_num_threads(available_cores())
    runtime = StageRuntime(threads=available_cores(), workers=available_cores(), report=report_every_100)
    work = Path(os.environ.get("TAG2MASK_BENCHMARK", "artifacts/.benchmark")) / "saliency-systems"
    lender = os.environ.get("TAG2MASK_VOC_STORE")
    benchmark = Benchmark(SETTINGS, work, runtime, lender=Path(lender) if lender else None)
    if not benchmark.config.dataset.root.is_dir():
        pytest.skip(f"{benchmark.config.dataset.root} is not there")
    benchmark.part_saliency_set()
    rows = measured(benchmark, SEGMENTER)
    found, least = rows["reciprocal/labels_0"]["miou"], rows["prior/labels_0"]["miou"]
    assert found is not None and least is not None and found > least


@pytest.mark.slow
@pytest.mark.usefixtures("as_in_a_run")
def test_saliency_in_labels_of_drawn_scenes(tmp_path: Path) -> None:
    """Every system labels a handful of scenes, from the same class maps, and its row is in the table."""
    torch.set_num_threads(1)
    write_demo(tmp_path / "data", scenes=12, validation=4, saliency=8, size=80)
    roots = (f"dataset.root={tmp_path / 'data'}", f"saliency_set.root={tmp_path / 'data' / 'saliency'}")
    tiny = ("segmenter.iterations=4", "segmenter.batch_size=2", "segmenter.crop_size=64")
    benchmark = Benchmark(CONFIGS / "demo.yaml", tmp_path / "work", StageRuntime(), changes=(*roots, *TINY, *tiny))
    benchmark.part_saliency_set()
    rows = measured(benchmark, ("cosaliency.iterations=4", "mining.foreground=0.02", "mining.minimum_foreground=0"))
    assert rows.keys() == {f"{system}/{step}" for system in SYSTEMS for step in ("labels_0", "labels_1")}
    assert len({figures["miou"] for name, figures in rows.items() if name.endswith("labels_0")}) == len(SYSTEMS)
    assert len(list(benchmark.store.artifacts("infer_cams"))) == 1
    table = (tmp_path / "work" / "labels.md").read_text()
    assert all(f"| {system} | " in table for system in SYSTEMS) and table == markdown(
        json.loads((tmp_path / "work" / "labels.json").read_text())
    )
