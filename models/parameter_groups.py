"""Which parameter learns how fast."""

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
    """Split the trainable parameters of `model` into up to four groups for an optimiser.

    Defaults as NSROM's classifier: features weight x1, features bias x2, head weight x10, head bias x20, weight decay
    on all of them.  A batch norm's (or PReLU's) weight counts as weight.  DeepLab: the same with
    `decay_head_bias=False`.  Parameters with `requires_grad` False are left out, and so are empty groups.

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
