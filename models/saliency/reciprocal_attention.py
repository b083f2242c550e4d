"""Salient objects by reciprocal attention between foreground and background (US 11,151,725; arXiv 1909.08269).

The claims name the operations but no sizes; channels, the levels and the heads are ours.  Two readings of claim 3 are
offered, see `ReciprocalAttention`.  The method is patented: check before commercial use.
"""

import math
from typing import Literal

from torch import Tensor, nn

from tag2mask.models.backbones import Backbone
from tag2mask.models.parts.convolution_block import convolution_block, resize_bilinear

Score = Literal["difference", "mean", "foreground"]
"""How foreground and background become one saliency map, see `combined`."""


class ReciprocalAttention(nn.Module):
    """Exchange messages between every foreground and every background position (claim 3).

    With E[i, j] the agreement of foreground position i and background position j:

    * "transposed": foreground position i receives the background features averaged with softmax_j E[i, j]; background
      position j receives the foreground features averaged with softmax_i E[i, j].
    * "literal": one matrix A = softmax_j E multiplies both feature maps from the right, as the claim is printed.

    Either way the message made of foreground features is added to the background, and conversely.  E has (h*w)^2
    entries an image: 10 MB at 40x40, 164 MB at 80x80.

    Args:
        channels: C of both inputs.
        key_channels: width of the response maps that E compares.
        mode: "transposed" or "literal".
    """

    def __init__(
        self, channels: int, *, key_channels: int = 64, mode: Literal["transposed", "literal"] = "transposed"
    ) -> None:
        super().__init__()
        if mode not in ("transposed", "literal"):
            raise ValueError(f"mode must be 'transposed' or 'literal', got {mode!r}")
        self.mode = mode
        self.respond_foreground = nn.Conv2d(channels, key_channels, 1)
        self.respond_background = nn.Conv2d(channels, key_channels, 1)

    def forward(self, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """Update `foreground` and `background`, both (N, C, h, w); returns both in this order and shape."""
        query = self.respond_foreground(foreground).flatten(2)  # (N, K, h, w) -> (N, K, hw)
        key = self.respond_background(background).flatten(2)
        agreement = query.mT @ key / math.sqrt(query.shape[1])  # (N, hw, K) @ (N, K, hw) -> (N, hw, hw)
        if self.mode == "literal":
            from_foreground = from_background = agreement.softmax(2)
        else:
            from_foreground, from_background = agreement.softmax(1), agreement.softmax(2).mT
        to_background = foreground.flatten(2) @ from_foreground  # (N, C, hw) @ (N, hw, hw) -> (N, C, hw)
        to_foreground = background.flatten(2) @ from_background
        return foreground + to_foreground.view_as(foreground), background + to_background.view_as(background)


class ReciprocalSaliency(nn.Module):
    """Foreground and background maps of one image, by reciprocal attention at several levels of a feature pyramid.

    Side outputs are brought to `channels` and added top-down.  At each attention stride two aggregations make the
    initial foreground and background features, attention updates them, and two heads predict.

    Args:
        backbone: any; its side outputs decide which strides there are.
        channels: width of the pyramid and of everything behind it.
        key_channels, mode: see `ReciprocalAttention`.
        attention_strides: where attention is applied, in pixels; deep supervision on each.  Where two side outputs
            have the same stride the shallower one, which contains the deeper, is taken.
        detail: also carry the finest attention level's features to the backbone's shallowest side output (stride 4)
            and predict there; that prediction is then the final one.

    Raises:
        ValueError: for a stride that the backbone does not have, or where `detail` has no finer level to go to.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        channels: int = 128,
        key_channels: int = 64,
        mode: Literal["transposed", "literal"] = "transposed",
        attention_strides: tuple[int, ...] = (16, 8),
        detail: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.levels = _attention_levels(backbone, attention_strides)
        finest = self.levels[-1]
        if detail and finest == 0:
            raise ValueError(
                f"detail needs a side output finer than the attention stride {backbone.strides[0]}: "
                "use detail=False or a larger attention stride"
            )
        used = range(finest, len(backbone.channels))
        self.laterals = nn.ModuleDict({str(i): convolution_block(backbone.channels[i], channels, 1) for i in used})
        self.exchanges = nn.ModuleList(_Exchange(channels, key_channels, mode) for _ in self.levels)
        self.heads = nn.ModuleList(_Heads(channels) for _ in self.levels)
        self.detail = _Detail(backbone.channels[0], channels) if detail else None

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Predict from `images` (N, 3, H, W), any size.

        Returns:
            Pairs (foreground logits, background logits), each (N, 1, H, W); from the coarsest level to the finest,
            the LAST is the final prediction, the others serve deep supervision.
        """
        sides = self.backbone(images)
        pyramid = self._pyramid(sides)
        predictions = []
        for level, exchange, heads in zip(self.levels, self.exchanges, self.heads, strict=True):
            foreground, background = exchange(pyramid[level])
            predictions.append(heads(foreground, background))
        if self.detail is not None:
            predictions.append(self.detail(foreground, background, sides[0]))
        size = images.shape[2:]
        return [(resize_bilinear(first, size), resize_bilinear(second, size)) for first, second in predictions]

    def _pyramid(self, sides: list[Tensor]) -> dict[int, Tensor]:
        merged: dict[int, Tensor] = {}
        for index in range(len(sides) - 1, self.levels[-1] - 1, -1):
            merged[index] = self.laterals[str(index)](sides[index])
            if index + 1 in merged:
                merged[index] = merged[index] + resize_bilinear(merged[index + 1], merged[index].shape[2:])
        return merged


class _Exchange(nn.Module):
    """Aggregate one pyramid level to foreground and background features and let them attend to each other."""

    def __init__(self, channels: int, key_channels: int, mode: Literal["transposed", "literal"]) -> None:
        super().__init__()
        self.foreground = nn.Sequential(
            convolution_block(channels, channels, 3), convolution_block(channels, channels, 3)
        )
        self.background = nn.Sequential(
            convolution_block(channels, channels, 3), convolution_block(channels, channels, 3)
        )
        self.attention = ReciprocalAttention(channels, key_channels=key_channels, mode=mode)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        updated: tuple[Tensor, Tensor] = self.attention(self.foreground(features), self.background(features))
        return updated


class _Heads(nn.Module):
    """Foreground and background logits (N, 1, h, w) from their features (N, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.foreground = nn.Sequential(convolution_block(channels, channels, 3), nn.Conv2d(channels, 1, 1))
        self.background = nn.Sequential(convolution_block(channels, channels, 3), nn.Conv2d(channels, 1, 1))

    def forward(self, foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        return self.foreground(foreground), self.background(background)


class _Detail(nn.Module):
    """Carry both feature maps to the shallowest side output and predict there."""

    def __init__(self, side_channels: int, channels: int) -> None:
        super().__init__()
        self.lateral = convolution_block(side_channels, channels, 1)
        self.foreground = convolution_block(channels, channels, 3)
        self.background = convolution_block(channels, channels, 3)
        self.heads = _Heads(channels)

    def forward(self, foreground: Tensor, background: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        lateral = self.lateral(side)
        size = lateral.shape[2:]
        logits: tuple[Tensor, Tensor] = self.heads(
            self.foreground(lateral + resize_bilinear(foreground, size)),
            self.background(lateral + resize_bilinear(background, size)),
        )
        return logits


def combined(foreground: Tensor, background: Tensor, score: Score = "difference") -> Tensor:
    """One saliency map of the two maps F and B.

    * "difference": relu(F - B) (claim 7).
    * "mean": (F + 1 - B) / 2, the mean of what the two say; not in the claims.
    * "foreground": F alone; not in the claims.

    Args:
        foreground: probabilities, any shape.
        background: probabilities of the same shape.
        score: which.

    Returns:
        The maps' shape, in [0, 1].
    """
    if score == "foreground":
        return foreground
    return (foreground - background).relu() if score == "difference" else (foreground + 1 - background) / 2


def _attention_levels(backbone: Backbone, attention_strides: tuple[int, ...]) -> tuple[int, ...]:
    """Indices of the side outputs with these strides, deepest first; the shallower one where a stride occurs twice."""
    missing = sorted(set(attention_strides) - set(backbone.strides))
    if missing or not attention_strides:
        allowed = ", ".join(str(stride) for stride in sorted(set(backbone.strides)))
        raise ValueError(f"attention_strides {attention_strides}: {backbone.name} has the strides {allowed}")
    return tuple(backbone.strides.index(stride) for stride in sorted(set(attention_strides), reverse=True))
