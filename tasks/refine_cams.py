"""Initial labels without mining: class maps weighted by saliency, refined by the dense CRF (not in NSROM's article).

Reads   dataset        the index; its training images
        saliency       saliency/<id>.png (H, W) uint8, 255 = salient
        cams           <id>.npz of `infer_cams`
        attention      <id>.npz of `infer_attention`, where the settings ask for it
Writes  <id>.png       (H, W) uint8 palette: 0 background, 1..C class, 255 ignore

Stands in the place of `mine_objects` where `initial_labels` says so; see `weighted_evidence`.
"""

from functools import partial
from pathlib import Path

from tag2mask.configs.schema import CamRefinement
from tag2mask.tasks.algorithms.foreground import drop_small_foreground
from tag2mask.tasks.algorithms.weighted_evidence import class_evidence, geometric_mean, label_by_evidence
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import read_rgb
from tag2mask.tasks.dataset.label_maps import read_gray, write_labels
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.store.runtime import StageRuntime


def run(
    config: CamRefinement,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path,
    saliency: Path,
    cams: Path,
    attention: Path | None = None,
) -> None:
    """Label all training images that are not done yet."""
    index = ImageIndex.read(dataset).split("train")
    work = partial(
        open_work, config=config, out=out, dataset=dataset, saliency=saliency, cams=cams, attention=attention
    )
    process_in_parallel(index.ids, out, work, runtime)


def open_work(
    device: str,
    *,
    config: CamRefinement,
    out: Path,
    dataset: Path,
    saliency: Path,
    cams: Path,
    attention: Path | None = None,
) -> Process:
    """What a worker does."""
    sources = ImageIndex.read(dataset).sources

    def label(image_id: str) -> list[Path]:
        maps = [folder / f"{image_id}.npz" for folder in (cams, attention) if folder is not None]
        job = sources[image_id], saliency / "saliency" / f"{image_id}.png", maps
        return label_image(image_id, job, config=config, out=out)

    return one_by_one(label)


def label_image(image_id: str, job: tuple[Path, Path, list[Path]], *, config: CamRefinement, out: Path) -> list[Path]:
    """Label one image.

    Args:
        image_id: its id.
        job: files of the image, its saliency, its class maps of one or two networks.
        config: weights, background, constants of the CRF.
        out: folder of the `<id>.png`.
    """
    source, saliency, cams = job
    image = read_rgb(source)
    found = [read_class_maps(path, image.shape[:2]) for path in cams]
    maps, classes = geometric_mean([maps for maps, _ in found]), found[0][1]
    evidence = class_evidence(read_gray(saliency), maps, power=config.power, saliency_weight=config.saliency_weight)
    labels = label_by_evidence(image, evidence, classes, background=config.background, config=config.crf)
    return [write_labels(out / f"{image_id}.png", drop_small_foreground(labels, config.minimum_foreground))]
