"""Class scores and label map of each image of a split, by a segmenter (NSROM, stages G and K).

Reads   dataset            the index
        model              model folder of `train_segmenter`
Writes  scores/<id>.npz    scores (K, h, w) float16, probabilities on the network's grid; numbers (K,) classes 0..C
        labels/<id>.png    (H, W) uint8, the most probable class of every pixel

Only classes that some cell gives more than 1 % are kept in `scores`; the background always is.

Tags may correct the class of a training image's objects, never whether there is one (`reassign_to_tags`).  To drop the
classes that are not tagged and scale up the rest would make background of an object that is taken for another class.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from tag2mask.configs.schema import MaskPrediction
from tag2mask.tasks.dataset.arrays import write_scores
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process
from tag2mask.tasks.networks.mask_inference import at_scales, kept_scores, load_segmenter, most_probable, segment
from tag2mask.tasks.networks.model_folder import check_classes, read_architecture
from tag2mask.tasks.networks.tensors import batches, images_at_once
from tag2mask.tasks.store.runtime import StageRuntime


def run(
    config: MaskPrediction,
    out: Path,
    runtime: StageRuntime,
    *,
    split: Literal["train", "val", "test"],
    dataset: Path,
    model: Path,
) -> None:
    """Predict all images of the split that are not done yet; tags filter training images only."""
    index = ImageIndex.read(dataset).split(split)
    check_classes(model, read_architecture(model, "segmenter"), index.classes)
    filtered = config.filter_by_tags and split == "train"
    work = partial(open_work, config=config, filtered=filtered, out=out, dataset=dataset, model=model)
    process_in_parallel(index.ids, out, work, runtime, network=True)


def open_work(device: str, *, config: MaskPrediction, filtered: bool, out: Path, dataset: Path, model: Path) -> Process:
    """What a worker does: it loads the network once."""
    index = ImageIndex.read(dataset)
    loaded = load_segmenter(model, device, index.classes)
    records = {record.image_id: record for record in index}

    def process(image_ids: Sequence[str]) -> Iterator[tuple[str, list[Path]]]:
        sizes: dict[tuple[int, int], list[str]] = defaultdict(list)
        for image_id in image_ids:
            sizes[records[image_id].size].append(image_id)
        for same in sizes.values():  # a batch holds images of one size
            for part in batches(same, images_at_once(config.batch_size, device)):
                chosen = [records[image_id] for image_id in part]
                with torch.inference_mode():
                    images = [at_scales(index.pixels(record), config, loaded.least_side) for record in chosen]
                    scores = segment(loaded.network, images, flip=config.flip, device=device)
                    for record, score in zip(chosen, scores, strict=True):
                        yield record.image_id, _write(out, record, score, filtered)

    return process


def reassign_to_tags(scores: Tensor, tags: Sequence[int]) -> Tensor:
    """Give the foreground's probability to the classes that are tagged, in proportion to their own.

    Tags say which classes an image shows, not where: the background keeps its probability, and the rest, 1 minus it, is
    shared among the tagged classes.  Tags restrict a prediction's classes likewise in Wei et al., "STC" (TPAMI 2017).

    Args:
        scores: (C + 1, h, w) floating probabilities that sum to one over the classes, plane 0 the background.
        tags: class numbers 1..C of the image, all different; without any, everything becomes background.

    Returns:
        (C + 1, h, w), summing to one; zero for classes that are not tagged.
    """
    reassigned = torch.zeros_like(scores)
    if not tags:
        reassigned[0] = 1
        return reassigned
    numbers = torch.as_tensor(list(tags), device=scores.device)
    tagged = scores[numbers] + torch.finfo(torch.float32).tiny  # where all are zero, they share equally
    reassigned[0] = scores[0]
    reassigned[numbers] = tagged / tagged.sum(0, keepdim=True) * (1 - scores[0])
    return reassigned


def _write(out: Path, record: ImageRecord, scores: Tensor, filtered: bool) -> list[Path]:
    if filtered:
        scores = reassign_to_tags(scores, record.tags)
    labels, _ = most_probable(scores, record.size)
    return [
        write_scores(out / "scores" / f"{record.image_id}.npz", *kept_scores(scores)),
        write_labels(out / "labels" / f"{record.image_id}.png", labels.cpu().numpy()),
    ]
