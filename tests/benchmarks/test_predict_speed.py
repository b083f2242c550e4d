"""What `tag2mask predict` adds to the bare network: `make benchmark-predict` prints images/s of both, in turn.

On a CPU it is the processor's time of this process that counts, with one thread, since threads that wait for each other
spend some, too, and the figure is the median over the turns of what predicting took beside the network in the same
turn, since the clock and the memory of a shared machine tell of its other users.

TAG2MASK_MODEL names a model folder, TAG2MASK_IMAGES a folder of images.  Without them: the segmenter of
`configs/voc-mini.yaml` on its images, untrained, with biases that let it find the background and three classes, as a
trained one does in most images.  One that finds all 20 classes everywhere has more to enlarge.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.configs.load import load_config
from tag2mask.configs.runtime import available_cores
from tag2mask.configs.schema import MaskPrediction
from tag2mask.flows.using.predict import JOURNAL_SECONDS
from tag2mask.tasks.networks.factory import save_model, segmentation_network
from tag2mask.tasks.prediction.image_files import images_named
from tag2mask.tasks.prediction.predicted_folder import Extras, predict_folder
from tag2mask.tasks.prediction.trained_segmenter import TrainedSegmenter
from tag2mask.tasks.store.runtime import StageRuntime

CONFIG = load_config(Path(__file__).parents[2] / "configs" / "voc-mini.yaml")
IMAGES, TURNS = 16, 11
ALLOWED = 0.10
"""Share of the bare network's images/s that may be lost."""


def model_and_settings(folder: Path) -> tuple[Path, MaskPrediction | None]:
    """The model folder that is asked for, or an untrained one with voc-mini's settings."""
    if "TAG2MASK_MODEL" in os.environ:
        return Path(os.environ["TAG2MASK_MODEL"]), None
    torch.manual_seed(0)
    names = [f"class{number}" for number in range(1, 21)]
    content = CONFIG.segmenter.model_dump(mode="json")
    network = segmentation_network(CONFIG.segmenter, len(names))
    bias = network.segmenter.head.classify.bias  # type: ignore[union-attr]
    with torch.no_grad():
        bias[:4] += torch.tensor([6.0, 5.0, 5.0, 5.0])
    save_model(folder, network, {"kind": "segmenter", "classes": names, "config": content})
    return folder, CONFIG.prediction.replaced(filter_by_tags=False)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


@pytest.mark.benchmark
@pytest.mark.usefixtures("as_in_a_run")
def test_predicting_costs_little_more_than_the_network(tmp_path: Path) -> None:
    """Images from file to mask cost at most a tenth more than the network alone."""
    data = CONFIG.dataset
    source = Path(os.environ.get("TAG2MASK_IMAGES", str(data.root / data.images)))
    if not source.is_dir():
        pytest.skip(f"{source} is not there")
    torch.set_num_threads(1)
    folder, prediction = model_and_settings(tmp_path / "model")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    segmenter = TrainedSegmenter.load(folder, device=device, prediction=prediction)
    images = dict(list(images_named([str(source)]).items())[:IMAGES])
    runtime = StageRuntime(device=device, threads=1, workers=available_cores(), journal_seconds=JOURNAL_SECONDS)
    prepared: list[Sequence[Sequence[np.ndarray]]] = []
    scores = segmenter.scores

    def kept(batch: Sequence[Sequence[np.ndarray]]) -> torch.Tensor:
        prepared.append(batch)
        return scores(batch)

    segmenter.scores = kept  # type: ignore[method-assign, assignment]  # the very batches that predicting makes
    predict_folder(segmenter, images, tmp_path / "first", {}, Extras(), runtime)
    segmenter.scores = scores  # type: ignore[method-assign]

    def bare() -> None:
        for batch in prepared:
            scores(batch).cpu()

    found: dict[str, list[tuple[float, float]]] = {"bare network": [], "predict": []}
    for turn in range(TURNS):
        found["bare network"].append(timed(bare))
        out = tmp_path / f"out{turn}"
        found["predict"].append(timed(lambda out=out: predict_folder(segmenter, images, out, {}, Extras(), runtime)))  # type: ignore[misc]
    where = torch.cuda.get_device_name() if device == "cuda" else "one thread"
    print(f"\n{len(images)} images in {len(prepared)} batches on {where}, median of {TURNS} turns:")
    print("| | images/s | processor seconds an image |\n|---|---|---|")
    for name, rows in found.items():
        clock, processor = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {name} | {len(images) / clock:.2f} | {processor / len(images):.4f} |")
    which = 0 if device == "cuda" else 1
    ratios = [own[which] / bare[which] for bare, own in zip(found["bare network"], found["predict"], strict=True)]
    added = statistics.median(ratios) - 1
    print(f"predict takes {100 * added:.1f} % more; by turns {' '.join(f'{100 * (one - 1):.1f}' for one in ratios)}")
    assert added <= ALLOWED
