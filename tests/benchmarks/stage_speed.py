"""Times each stage against its plain counterpart: the same images, the same outputs, in turn in one process.

Times are the processor's, so that other work on the machine counts little.
"""

import resource
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from tag2mask.configs.schema import Activation, Classifier, Masking, Mining, Refinement
from tag2mask.models.tag_classifier import TagClassifier
from tag2mask.tasks import infer_cams, mask_nonsalient, mine_objects, refine_masks
from tag2mask.tasks.dataset.class_maps import read_class_levels
from tag2mask.tasks.dataset.label_maps import read_gray, read_labels
from tag2mask.tasks.networks.factory import classifier_network, load_pretrained, save_model
from tag2mask.tasks.store.runtime import StageRuntime
from tests.benchmarks import plain_cams, plain_crf, plain_labels
from tests.benchmarks.stage_inputs import StageInputs

Work = Callable[[Path], None]
"""Writes its results into the folder that it is given."""
Differences = Iterable[tuple[np.ndarray, np.ndarray]]
"""Maps of the counterpart and ours, of every image."""


@dataclass(frozen=True)
class Comparison:
    """A stage and its plain counterpart."""

    stage: str
    images: int
    plain: Work
    ours: Work
    maps: Callable[[Path, Path], Differences]
    """Takes the counterpart's folder and ours."""


@dataclass(frozen=True)
class Timing:
    """Processor time of both, in milliseconds per image, and how far their results differ."""

    stage: str
    plain: float
    ours: float
    different: float
    """Share of pixels with another value."""
    most: int
    """Largest difference of two values."""

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.plain / self.ours


def timed(comparison: Comparison, work: Path, *, rounds: int) -> Timing:
    """Run both in turn; the least processor time of each counts."""
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(rounds):
        for name, run in (("plain", comparison.plain), ("ours", comparison.ours)):
            shutil.rmtree(work / name, ignore_errors=True)
            (work / name).mkdir(parents=True)
            started = time.process_time()
            run(work / name)
            seconds[name].append(time.process_time() - started)
    different, pixels, most = 0, 0, 0
    for one, other in comparison.maps(work / "plain", work / "ours"):
        apart = np.abs(one.astype(int) - other)
        different, pixels, most = different + int(np.count_nonzero(apart)), pixels + apart.size, max(most, apart.max())
    plain, ours = (1000 * min(values) / comparison.images for values in seconds.values())
    return Timing(comparison.stage, plain, ours, different / pixels, int(most))


def mining(inputs: StageInputs) -> Comparison:
    """Labels 0."""
    folders = (inputs.saliency / "saliency", inputs.plain / "attention", inputs.plain / "cams")

    def plain(out: Path) -> None:
        for record in inputs.index:
            plain_labels.mine_file(record.image_id, record.tags, *folders, out)

    given = {"dataset": inputs.dataset, "saliency": inputs.saliency, "attention": inputs.attention, "cams": inputs.cams}
    ours = partial(_run, mine_objects.run, Mining(), given)
    return Comparison("mining", len(inputs.index), plain, ours, _label_maps)


def masking(inputs: StageInputs) -> Comparison:
    """Labels of the next round."""
    folders = (inputs.predictions, inputs.labels, inputs.saliency / "saliency")

    def plain(out: Path) -> None:
        for record in inputs.index:
            plain_labels.mask_file(record.image_id, len(record.tags), *folders, out)

    names = ("dataset", "predictions", "labels", "saliency")
    ours = partial(_run, mask_nonsalient.run, Masking(), {name: inputs.folder / name for name in names})
    return Comparison("masking", len(inputs.index), plain, ours, _label_maps)


def refinement(inputs: StageInputs) -> Comparison:
    """The dense CRF."""
    index = inputs.index

    def plain(out: Path) -> None:
        for record in index:
            scores = inputs.plain / "scores" / f"{record.image_id}.npy"
            plain_crf.refine_file(record.image_id, index.folder / record.file, scores, out)

    given = {"dataset": inputs.dataset, "scores": inputs.scores}
    ours = partial(_run, refine_masks.run, Refinement(), given)
    return Comparison(f"CRF, {len(index.classes) + 1} classes", len(index), plain, ours, _label_maps)


def class_maps(inputs: StageInputs, classifier: Classifier, config: Activation) -> Comparison:
    """Class activation maps of a network whose class convolution is random."""
    index, model = inputs.index, inputs.folder / f"model-{classifier.backbone.name}"
    torch.manual_seed(0)
    network: TagClassifier = classifier_network(classifier, len(index.classes))
    load_pretrained(network.backbone, classifier.backbone, None)
    network.classify.reset_parameters()
    told = {"kind": "classifier", "classes": list(index.classes), "config": classifier.model_dump(mode="json")}
    save_model(model, network, told)
    network.eval()

    def plain(out: Path) -> None:
        for record in index:
            plain_cams.infer_file(network, config, record.image_id, record.tags, index.folder / record.file, out)

    ours = partial(_run, infer_cams.run, config, {"dataset": inputs.dataset, "model": model})
    name = f"CAM, {classifier.backbone.name}, {config.image_size} pixels"

    def maps(plain_folder: Path, our_folder: Path) -> Differences:
        for record in index:
            levels, numbers = read_class_levels(our_folder / f"{record.image_id}.npz", record.size)
            for number, plane in zip(numbers.tolist(), levels, strict=True):
                yield read_gray(plain_folder / f"{record.image_id}_{number}.png"), plane

    return Comparison(name, len(index), plain, ours, maps)


def gain_of_two_cores(inputs: StageInputs, work: Path) -> float:
    """How many times as fast the CRF is with two workers as with one, by the clock."""
    seconds = []
    for workers in (1, 2):
        shutil.rmtree(work, ignore_errors=True)
        started = time.perf_counter()
        _refined(inputs, work, workers)
        seconds.append(time.perf_counter() - started)
    return seconds[0] / seconds[1]


def peak_memory(inputs: StageInputs, work: Path) -> float:
    """MiB that the CRF takes at most for all images, one at a time, in a process of its own."""
    shutil.rmtree(work, ignore_errors=True)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_peak_of_crf, inputs.folder, work).result()


def _peak_of_crf(folder: Path, work: Path) -> float:
    _refined(StageInputs(folder), work, 1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _refined(inputs: StageInputs, out: Path, workers: int) -> None:
    runtime = StageRuntime(workers=workers)
    refine_masks.run(Refinement(), out, runtime, dataset=inputs.dataset, scores=inputs.scores)


def _run(stage: Callable[..., None], config: object, given: dict[str, Path], out: Path) -> None:
    stage(config, out, StageRuntime(), **given)


def _label_maps(plain: Path, ours: Path) -> Differences:
    """Label maps of the same name in both folders."""
    paths = sorted(plain.glob("*.png"))
    assert [path.name for path in paths] == sorted(path.name for path in ours.glob("*.png"))
    for path in paths:
        yield read_labels(path), read_labels(ours / path.name)


def table(timings: Iterable[Timing]) -> str:
    """Markdown."""
    lines = ["| stage | plain, ms an image | ours | ratio | pixels that differ |", "|---|---|---|---|---|"]
    for one in timings:
        apart = f"{one.different:.5%}, by up to {one.most}" if one.different else "none"
        lines.append(f"| {one.stage} | {one.plain:.1f} | {one.ours:.1f} | {one.ratio:.1f} | {apart} |")
    return "\n".join(lines)
