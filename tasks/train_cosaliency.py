"""Train a group system, ICNet or GCoNet+, on tagged images without masks, or on a folder of groups with masks.

Reads   dataset        the index; its training images
        saliency       saliency/<id>.png, provenance.json
        cams           <id>.npz of CAM
        training_set   images/<group>/, masks/<group>/ (`icnet`: saliency/<group>/) in place of the three above; what
                       masks these are is read from its provenance.json, where there is one
        weights        state dict of an ImageNet network, where the settings name a file
Writes  model.pt       the network that predicts, without what its training alone needs
        model.json, losses.csv, metrics.json
        provenance.json   which masks are behind it: of the groups, or behind the saliency maps

Tags make the groups, and drive the classification losses of GCoNet+ (binary cross entropy over all tags of a
image, where the published code has one class an image).  The hard negative group is that of the tag which most
often occurs with the group's own; where an image belongs to both, the other consensus is to find the other object.
Unlike the published code, nothing is rotated, colors change less (by .2; by .5 and more, and sharpness, for GCoNet+,
not at all for ICNet), and Adam's second moment decays by 0.999.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tag2mask.configs.schema import Cosaliency
from tag2mask.tasks.algorithms.tag_groups import warn_of_tags_never_alone
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.groups.batches import GroupBatches
from tag2mask.tasks.groups.sources import GroupSource, masked_source, tagged_source
from tag2mask.tasks.networks.factory import backbone_network, load_pretrained, place, save_model
from tag2mask.tasks.networks.model_folder import trained_settings
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.registry import GROUP_SYSTEMS
from tag2mask.tasks.training.loop import POWER, Training, autocast, poly, train


def run(
    config: Cosaliency,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path | None = None,
    saliency: Path | None = None,
    cams: Path | None = None,
    training_set: Path | None = None,
    weights: Path | None = None,
) -> None:
    """Train, resuming from a checkpoint below `out` if there is one.

    Raises:
        NoTargets: no image has a pixel that its group shares.
        BadDataset: the folder of groups is not complete.
        ValueError: neither a folder of groups nor all of dataset, saliency and cams is given.
    """
    source = _source(config, dataset, saliency, cams, training_set)
    provenance = _provenance(len(source), saliency, training_set)  # read first: a damaged one costs no training
    torch.manual_seed(config.seed)
    system, backbone = GROUP_SYSTEMS[config.provider], backbone_network(config.backbone, fine=config.fine)
    network = system.build(config, backbone)
    parts = nn.ModuleDict({"network": network, **system.training_parts(network, len(source.names))})
    load_pretrained(backbone, config.backbone, weights)
    place(parts, runtime.device)
    batches = GroupBatches(source, config, pairs=system.two_groups)

    def loss_of_step(step: int) -> Tensor:
        batch, saliency_maps = batches.batch(step, runtime.device, multi_label=training_set is None)
        with autocast(runtime.precision, runtime.device):
            return system.loss(config, parts, batch, saliency_maps)

    factor = poly(POWER, config.iterations) if config.falling else _constant
    training = Training(parts, _optimizer(parts, backbone, config), config.iterations, loss_of_step, factor)
    try:
        train(training, out, runtime)
    finally:
        batches.prefetch.close()
    save_model(out, network, {"kind": "cosaliency", "config": trained_settings(config, weights)})
    targets = {"with_target": len(batches.usable), "without_target": sum(map(len, source.tags)) - len(batches.usable)}
    counts = {"images": len(source), "groups": len(batches.groups), "steps": config.iterations}
    provenance.write(out)
    write_json(out / "metrics.json", {**counts, **targets, **provenance.as_metrics()})


def _source(
    config: Cosaliency, dataset: Path | None, saliency: Path | None, cams: Path | None, training_set: Path | None
) -> GroupSource:
    """What to train on; warns of tags that hardly ever stand alone."""
    if training_set is not None:
        return masked_source(training_set, config)
    if dataset is None or saliency is None or cams is None:
        raise ValueError("train_cosaliency needs a training_set, or dataset, saliency and cams")
    source = tagged_source(ImageIndex.read(dataset).split("train"), config, saliency=saliency, cams=cams)
    warn_of_tags_never_alone(source.tags, source.names)
    return source


def _provenance(images: int, saliency: Path | None, training_set: Path | None) -> Provenance:
    """Which masks the network learns from."""
    if training_set is not None:
        provenance = Provenance.read(training_set, otherwise="a folder of groups that says nothing of itself")
        return provenance if provenance.images is not None else replace(provenance, images=images)
    assert saliency is not None  # seen to by _source
    behind = Provenance.read(saliency, otherwise="saliency maps that say nothing of them")
    return Provenance("none: tags, CAMs and saliency maps", "no", 0).after(behind)


def _optimizer(parts: nn.ModuleDict, backbone: nn.Module, config: Cosaliency) -> torch.optim.Optimizer:
    """Adam, with another learning rate for the backbone; a backbone of factor 0 is not trained."""
    if config.backbone_factor == 0:
        backbone.requires_grad_(False)
    pretrained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    known = set(map(id, backbone.parameters()))
    rest = [parameter for parameter in parts.parameters() if id(parameter) not in known]
    rates = ((pretrained, config.learning_rate * config.backbone_factor), (rest, config.learning_rate))
    groups = [{"params": parameters, "lr": rate} for parameters, rate in rates if parameters]
    return torch.optim.Adam(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _constant(step: int) -> float:
    """The learning rate stays, as published."""
    return 1.0
