"""What the segmenter of `configs/voc-mini.yaml` reaches when it is trained on the masks: the ceiling to compare with.

The pipeline refuses to train on ground truth, so this stands apart and calls the stages by hand.
"""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch

from tag2mask.configs.load import load_config
from tag2mask.configs.runtime import available_cores
from tag2mask.configs.schema import Evaluation, StepKind
from tag2mask.tasks import evaluate, index_dataset, index_masks, predict_masks, refine_masks, train_segmenter
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime

SETTINGS = Path(__file__).parents[2] / "configs" / "voc-mini.yaml"
WORK = Path(os.environ.get("TAG2MASK_BENCHMARK", "artifacts/.benchmark"))
SEEDS = tuple(int(seed) for seed in os.environ.get("TAG2MASK_SEEDS", "0 1 2").split())


@pytest.mark.benchmark
@pytest.mark.parametrize("seed", SEEDS)
def test_segmenter_trained_on_masks(seed: int) -> None:
    """The same network, settings and steps, trained on the masks of the training images, beats chance by far."""
    config = load_config(SETTINGS)
    data = config.dataset
    if not data.root.is_dir():
        pytest.skip(f"{data.root} is not there")
    torch.set_num_threads(available_cores())
    runtime = StageRuntime(threads=available_cores(), workers=available_cores(), report=_report_every_100)
    assert data.train_split and data.val_split and data.masks
    folders = {name: _fresh(name) for name in ("dataset", "masks", "scores", "refined", "plain", "crf")}
    model = WORK / f"model-{seed}"  # kept, so that an interrupted benchmark resumes
    model.mkdir(parents=True, exist_ok=True)
    index_dataset.run(
        data,
        folders["dataset"],
        runtime,
        images=data.root / data.images,
        tags=data.root / data.tags,
        train_split=data.root / data.train_split,
        val_split=data.root / data.val_split,
    )
    index_masks.run(data, folders["masks"], runtime, dataset=folders["dataset"], masks=data.root / data.masks)
    started = time.time()
    weights = config.segmenter.backbone.weights_file
    labels = folders["masks"] / "masks"
    settings = config.segmenter.replaced(seed=seed, first_round_tags=None)  # masks are right in all images
    train_segmenter.run(settings, model, runtime, dataset=folders["dataset"], labels=labels, weights=weights)
    seconds = time.time() - started
    given = {"dataset": folders["dataset"], "model": model}
    predict_masks.run(config.prediction, folders["scores"], runtime, split="val", **given)
    refine_masks.run(
        config.refinement, folders["refined"], runtime, dataset=folders["dataset"], scores=folders["scores"]
    )
    plain = _miou("predictions", folders["scores"], folders["plain"], folders, runtime)
    refined = _miou("labels", folders["refined"], folders["crf"], folders, runtime)
    print(
        f"\ntrained on masks, seed {seed}: val mIoU {plain:.2f}, with CRF {refined:.2f} ({seconds:.0f} s of training)"
    )
    assert plain > 10


def _miou(kind: StepKind, subject: Path, out: Path, folders: dict[str, Path], runtime: StageRuntime) -> float:
    given = {"dataset": folders["dataset"], "masks": folders["masks"], "subject": subject}
    evaluate.run(Evaluation(), out, runtime, kind=kind, split="val", title=kind, **given)
    return float(100 * read_json(out / "metrics.json")["miou"])


def _fresh(name: str) -> Path:
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _report_every_100(done: int, total: int, note: str) -> None:
    if done % 100 == 0:
        print(json.dumps({"done": done, "of": total, "note": note}), flush=True)
