"""The four saliency systems and the prior beside each other: same data, same backbone, same number of images seen.

`make benchmark-saliency` prints the table of the README.  TAG2MASK_BENCHMARK names the folder that is kept,
TAG2MASK_VOC_STORE the store of a finished run of `configs/voc-mini.yaml`, whose class maps are then used.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from tag2mask.configs.load import load_config
from tag2mask.configs.runtime import available_cores
from tag2mask.flows.dag.build import build_dag
from tag2mask.tasks.demo.scenes import write_demo
from tag2mask.tasks.store.runtime import StageRuntime
from tests.benchmarks.saliency_systems import Benchmark, same_settings

CONFIGS = Path(__file__).parents[2] / "configs"
SETTINGS = CONFIGS / "voc-mini.yaml"
TINY = (
    *(f"{section}.image_size=64" for section in ("classifier", "cams", "saliency")),
    "classifier.epochs=2",
    "classifier.accumulate_from=1",
    "classifier.drop_epochs=[]",
    "classifier.batch_size=4",
    "classifier.class_init=published",
    "cams.scales=[1.0]",
    "saliency.backbone={name: squeezenet1_1, output_stride: 16}",
    "saliency.channels=8",
    "saliency.key_channels=4",
    "saliency.iterations=20",
    "saliency.optimizer=sgd",
    "saliency.learning_rate=0.03",
    "saliency.batch_size=4",
    "prior.image_size=64",
    "prior.superpixels=40",
    "cosaliency.channels=8",
    "cosaliency.detail_channels=8",
    "cosaliency.grids=[2, 4, 6]",
    "cosaliency.targets={salient: 0, cam: 0, unsalient: 0, no_cam: 0}",
    "dataset.minimum_images=1",
)
"""Changes to the demo's settings: seconds instead of hours."""


@pytest.mark.benchmark
@pytest.mark.usefixtures("as_in_a_run")
def test_saliency_systems_on_images() -> None:
    """On images that no network has seen, reciprocal attention is far better than the prior."""
    config = load_config(SETTINGS)
    assert config.saliency_set is not None
    for root in (config.dataset.root, config.saliency_set.root):
        if not root.is_dir():
            pytest.skip(f"{root} is not there")
    torch.set_num_threads(available_cores())
    runtime = StageRuntime(threads=available_cores(), workers=available_cores(), report=report_every_100)
    work = Path(os.environ.get("TAG2MASK_BENCHMARK", "artifacts/.benchmark")) / "saliency-systems"
    lender = os.environ.get("TAG2MASK_VOC_STORE")
    rows = Benchmark(SETTINGS, work, runtime, lender=Path(lender) if lender else None).run()
    single = {row.system: row.figures for row in rows if row.part == "single"}
    assert single["reciprocal"]["mae"] < 0.8 * single["prior"]["mae"]
    assert single["reciprocal"]["max_f"] > single["prior"]["max_f"] + 0.05


@pytest.mark.usefixtures("as_in_a_run")
def test_saliency_systems_on_drawn_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole comparison runs on a handful of scenes, holds out every fifth one, and takes over what is made."""
    torch.set_num_threads(1)
    write_demo(tmp_path / "data", scenes=14, validation=6, saliency=12, size=80)
    roots = (f"dataset.root={tmp_path / 'data'}", f"saliency_set.root={tmp_path / 'data' / 'saliency'}")
    given = {"changes": (*roots, *TINY)}
    rows = Benchmark(CONFIGS / "demo.yaml", tmp_path / "work", StageRuntime(), **given).run()
    assert [(row.part, row.system) for row in rows] == [
        ("single", "prior"),
        ("single", "reciprocal"),
        ("single", "purnet"),
        ("single", "icnet, trained on tags"),
        ("single", "gconet_plus, trained on tags"),
        ("groups", "reciprocal"),
        ("groups", "reciprocal, gated"),
        ("groups", "icnet"),
        ("groups", "gconet_plus"),
    ]
    reported = json.loads((tmp_path / "work" / "table.json").read_text())
    learned = {path.stem for path in (tmp_path / "work" / "trained-on" / "images").iterdir()}
    assert len(reported["held_out"]) == 3 and len(learned) == 9 and learned.isdisjoint(reported["held_out"])
    table = (tmp_path / "work" / "table.md").read_text()
    assert all(f"| {row.system} | " in table for row in rows) and "20 steps of 4 images at 64 pixels" in table
    first = capsys.readouterr().out
    assert f"held out, 3 images: {' '.join(reported['held_out'])}" in first and "train_saliency" in first
    lender = tmp_path / "work" / "store"
    again = Benchmark(CONFIGS / "demo.yaml", tmp_path / "other", StageRuntime(), lender=lender, **given).run()
    assert [row.figures for row in again] == [row.figures for row in rows]
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if "  train_" in line and not line.endswith("as a finished run made it")]


def test_settings_of_the_images_held_out_are_possible(tmp_path: Path) -> None:
    """The settings of the real comparison, whose held-out images have no validation split, are accepted."""
    config = Benchmark(SETTINGS, tmp_path, StageRuntime()).held_out("reciprocal")
    assert config.dataset.val_split is None and config.saliency.provider == "reciprocal"


def test_older_artifacts_lack_only_settings_at_their_default() -> None:
    """An artifact is taken over if the settings that it does not know stand at their default, and not otherwise."""
    nodes = {node.name: node for node in build_dag(load_config(SETTINGS))}
    node = nodes["train_classifier"]
    older = {name: value for name, value in node.hashed.items() if name != "optimizer"}
    assert same_settings(node, node.hashed) and same_settings(node, older)
    assert not same_settings(node, {**older, "epochs": 9})
    assert not same_settings(node, {**older, "gone": 1})
    assert not same_settings(node, {name: value for name, value in older.items() if name != "jitter"})


def report_every_100(done: int, total: int, note: str) -> None:
    """A line for every hundred steps."""
    if done % 100 == 0:
        print(json.dumps({"done": done, "of": total, "note": note}), flush=True)
