"""Batch normalization that stays as it was learned elsewhere.

With a few images a batch, the statistics of the batch are worse than those that came with the ImageNet weights.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization by its running statistics for ever: `.train()` does not move it, its scale is not trained.

    An activation that the batch norm carries (timm's `BatchNormAct2d`) is applied behind it as before.  The state's
    keys are those of the source, so that a checkpoint serves both.
    """

    def __init__(self, source: nn.BatchNorm2d) -> None:
        if source.running_mean is None or source.running_var is None:
            raise ValueError("a batch norm without running statistics cannot be frozen: build it with them")
        super().__init__(source.num_features, eps=source.eps, momentum=source.momentum, affine=source.affine)
        self.weight, self.bias = source.weight, source.bias
        self.running_mean, self.running_var = source.running_mean, source.running_var
        self.num_batches_tracked = source.num_batches_tracked
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.act = _activation(source)
        self.stays = _stays(source)
        self.train(False)

    def forward(self, input: Tensor) -> Tensor:
        """Scale, shift and activate `input` (N, C, H, W)."""
        activated: Tensor = self.act(super().forward(input))
        return activated

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` says."""
        return super().train(False)


def _activation(norm: nn.BatchNorm2d) -> nn.Module:
    """What a batch norm applies to its own result: nothing, unless it is of a kind that carries an activation.

    Raises:
        TypeError: it is of a kind that may do something else.
    """
    carried = getattr(norm, "act", None)
    if isinstance(carried, nn.Module):
        return carried
    if type(norm) is not nn.BatchNorm2d:
        raise TypeError(f"cannot freeze or fold a {type(norm).__name__}: what it computes is not known here")
    return nn.Identity()


def freeze_batch_norm(module: nn.Module) -> int:
    """Replace every `nn.BatchNorm2d` inside `module` by a frozen one that shares its parameters and statistics.

    Collect the optimizer's parameters afterwards: the frozen ones have `requires_grad` False.

    Returns:
        How many layers were frozen by this call.

    Raises:
        TypeError: if `module` itself is a batch norm; it has to be replaced in its parent.
    """
    if isinstance(module, nn.BatchNorm2d):
        raise TypeError("cannot replace a batch norm inside itself: pass the module that contains it")
    frozen = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and not isinstance(child, FrozenBatchNorm2d):
                setattr(parent, name, FrozenBatchNorm2d(child))
                frozen += 1
    return frozen


def fold_batch_norm(module: nn.Module) -> int:
    """Fold every batch norm that directly follows a convolution into that convolution's weights, for inference.

    The network computes the same up to rounding with less memory traffic; it cannot be trained or saved any more.
    "Follows" is read off the order of registration inside one parent, which is the order of computation in
    `nn.Sequential` and in torchvision's residual blocks; where it is not, `keep_unfolded` has marked the norm.

    Returns:
        How many layers were folded.

    Raises:
        ValueError: the module is in training mode.
    """
    if module.training:
        raise ValueError("fold batch norms for inference only: call eval() first")
    folded = 0
    for parent, name, convolution, norm in list(_pairs(module)):
        if not _stays(norm):
            _fold(convolution, norm)
            setattr(parent, name, _activation(norm))
            folded += 1
    return folded


def norms_elsewhere(network: nn.Module, forward: Callable[[], Any]) -> list[str]:
    """Names of the batch norms that are registered behind a convolution whose output they do not take.

    Args:
        network: the network; may be on the device `meta`.
        forward: applies it to an image, of any content.
    """
    pairs = [(convolution, norm) for _, _, convolution, norm in _pairs(network)]
    given: dict[nn.Module, Tensor] = {}
    taken: dict[nn.Module, Tensor] = {}
    hooks = [
        *(one.register_forward_hook(lambda module, _, output: given.update({module: output})) for one, _ in pairs),
        *(
            norm.register_forward_pre_hook(lambda module, inputs: taken.update({module: inputs[0]}))
            for _, norm in pairs
        ),
    ]
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
    astray = {norm for one, norm in pairs if norm not in taken or taken[norm] is not given.get(one)}
    return [name for name, module in network.named_modules() if module in astray]


def keep_unfolded(network: nn.Module, names: list[str]) -> None:
    """Let `fold_batch_norm` leave these batch norms as they are, also once they are frozen."""
    for name in names:
        setattr(network.get_submodule(name), "stays", True)  # noqa: B010  a module takes any attribute


def _stays(norm: nn.Module) -> bool:
    return bool(getattr(norm, "stays", False))


def _pairs(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d, nn.BatchNorm2d]]:
    """(parent, name of the norm, convolution, norm) of batch norms that are registered right behind a convolution."""
    for parent in module.modules():
        for (_, convolution), (name, norm) in pairwise(parent.named_children()):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                yield parent, name, convolution, norm


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.weight, convolution.bias = weight, bias
