"""Which parameter learns how fast."""

from collections.abc import Mapping
from typing import Any

from torch import nn


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    *,
    backbone_factor: float = 1.0,
    head_factor: float = 10.0,
    bias_factor: float = 2.0,
    weight_decay: float = 5e-4,
    decay_head_bias: bool = True,
) -> list[dict[str, Any]]:
    """Split the trainable parameters of `model` into up to four groups for an optimizer.

    Defaults as NSROM's classifier: features weight x1, features bias x2, head weight x10, head bias x20, weight decay
    on all of them.  A batch norm's (or PReLU's) weight counts as weight.  NSROM's DeepLab: `decay_head_bias=False`, and
    no factor on the backbone's biases, of which frozen batch norms leave none.  Parameters with `requires_grad` False
    are left out, and so are empty groups.

    Args:
        model: has an attribute `backbone`; every other parameter belongs to the head.
        learning_rate: base rate, multiplied by the factors.
        backbone_factor: for the backbone's weights.
        head_factor: for the head's weights.
        bias_factor: for biases, on top of the two above.
        weight_decay: for every group, but see `decay_head_bias`.
        decay_head_bias: False takes the decay from the head's biases.

    Returns:
        Dictionaries with `name`, `params`, `lr` and `weight_decay`, in the order backbone_weight, backbone_bias,
        head_weight, head_bias.

    Raises:
        TypeError: if the model has no backbone.
    """
    if not isinstance(getattr(model, "backbone", None), nn.Module):
        raise TypeError(f"{type(model).__name__} has no module named backbone to tell features from head")
    members: dict[str, list[nn.Parameter]] = {
        f"{part}_{kind}": [] for part in ("backbone", "head") for kind in ("weight", "bias")
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "backbone" if name.startswith("backbone.") else "head"
            kind = "bias" if name.endswith("bias") else "weight"
            members[f"{part}_{kind}"].append(parameter)
    factors = {
        "backbone_weight": backbone_factor,
        "backbone_bias": backbone_factor * bias_factor,
        "head_weight": head_factor,
        "head_bias": head_factor * bias_factor,
    }
    return [
        {
            "name": name,
            "params": parameters,
            "lr": learning_rate * factors[name],
            "weight_decay": 0.0 if name == "head_bias" and not decay_head_bias else weight_decay,
        }
        for name, parameters in members.items()
        if parameters
    ]


def subnetwork_groups(
    model: nn.Module,
    learning_rate: float,
    factors: Mapping[str, float],
    *,
    bias_factor: float = 2.0,
    weight_decay: float = 5e-4,
) -> list[dict[str, Any]]:
    """Split the trainable parameters of `model` into two groups for each of its direct children.

    Defaults as PurNet's: biases learn twice as fast and do not decay.  A batch norm's (or PReLU's) weight counts as
    weight.  Parameters with `requires_grad` False are left out, and so are empty groups.

    Args:
        model: has no parameters of its own beside those of its children.
        learning_rate: base rate, multiplied by the factors.
        factors: name of each child -> its factor.
        bias_factor: for biases, on top.
        weight_decay: for weights.

    Returns:
        Dictionaries with `name` (`<child>_weight`, `<child>_bias`), `params`, `lr` and `weight_decay`.

    Raises:
        ValueError: the factors do not name exactly the children.
    """
    if set(factors) != {name for name, _ in model.named_children()} or list(model.parameters(recurse=False)):
        raise ValueError(f"factors for {', '.join(factors)} do not fit the parts of {type(model).__name__}")
    groups = []
    for child, factor in factors.items():
        members: dict[str, list[nn.Parameter]] = {"weight": [], "bias": []}
        for name, parameter in model.get_submodule(child).named_parameters():
            if parameter.requires_grad:
                members["bias" if name.endswith("bias") else "weight"].append(parameter)
        rates = {"weight": (factor, weight_decay), "bias": (factor * bias_factor, 0.0)}
        groups += [
            {
                "name": f"{child}_{kind}",
                "params": members[kind],
                "lr": learning_rate * own_factor,
                "weight_decay": decay,
            }
            for kind, (own_factor, decay) in rates.items()
            if members[kind]
        ]
    return groups
