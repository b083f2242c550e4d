"""Train a saliency network on images with salient-object masks.

Reads   saliency_set   images/, masks/, index.csv, provenance.json of `index_saliency_set`; or
        dataset        the index, and
        targets        <id>.png of `make_saliency_pseudo_labels`, whose unknown pixels enter no loss
        weights        state dict of an ImageNet network, where the settings name a file; or
        start          model folder of this stage, from whose weights the training starts
Writes  model.pt, model.json, losses.csv, metrics.json
        provenance.json   which masks the network has seen, with those of the model that it started from

Each network's training stands with its record in `systems`.
"""

from pathlib import Path

import torch

from tag2mask.configs.schema import Saliency
from tag2mask.tasks.dataset.provenance import SILENT_MODEL, Provenance
from tag2mask.tasks.networks.factory import backbone_network, load_model, load_pretrained, place, save_model
from tag2mask.tasks.networks.model_folder import check_start, trained_settings
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.registry import SALIENCY_SYSTEMS
from tag2mask.tasks.training.loop import train
from tag2mask.tasks.training.pseudo_targets import agreed_source
from tag2mask.tasks.training.saliency_pairs import PairSource, masked_source


def run(
    config: Saliency,
    out: Path,
    runtime: StageRuntime,
    *,
    saliency_set: Path | None = None,
    dataset: Path | None = None,
    targets: Path | None = None,
    weights: Path | None = None,
    start: Path | None = None,
) -> None:
    """Train, resuming from a checkpoint below `out` if there is one.

    Raises:
        WeightsError: the weights, or the model to start from, do not fit the settings; the message says what.
    """
    if start is not None:
        check_start(config.replaced(start_from=start))
    source = _source(saliency_set, dataset, targets)
    provenance = source.provenance
    torch.manual_seed(config.seed)
    system, backbone = SALIENCY_SYSTEMS[config.provider], backbone_network(config.backbone)
    network = system.build(config, backbone)
    if start is None:
        load_pretrained(backbone, config.backbone, weights)
    else:
        load_model(start, network)
        provenance = provenance.after(Provenance.read(start, otherwise=SILENT_MODEL))
    if config.backbone_factor == 0:
        backbone.requires_grad_(False)  # no gradient is computed for it
    place(network, runtime.device)
    data = system.pairs(config, source, out)
    training = system.training(config, network, data, runtime)
    try:
        train(training, out, runtime)
    finally:
        data.prefetch.close()
    settings = trained_settings(config, weights)
    save_model(out, network, {"kind": "saliency", "provider": config.provider, "config": settings})
    provenance.write(out)
    write_json(out / "metrics.json", {"images": len(data), "steps": config.iterations})


def _source(saliency_set: Path | None, dataset: Path | None, targets: Path | None) -> PairSource:
    """Images with masks, or the dataset's own with targets that were made for it."""
    if saliency_set is not None:
        return masked_source(saliency_set)
    if dataset is None or targets is None:
        raise ValueError("train_saliency needs a saliency_set, or a dataset and targets")
    return agreed_source(dataset, targets)
