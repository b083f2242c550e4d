"""Salient objects by a purnet network, "PurNet" (arXiv 1912.08393; TIP 2021, vol. 30, pages 6855-6868).

A promotion subnetwork says where to look, a rectification subnetwork where the prediction is likely to be wrong, and
the main subnetwork predicts from features that both have attended to.  Deviations: any backbone and any input size,
one level a side output (the published network has five, two of them at stride 4); maps are enlarged bilinearly where
the published network starts transposed convolutions from bilinear kernels and trains them; images are normalized by the
backbone's constants, not by those of the training set.
"""

from typing import NamedTuple

from torch import Tensor, nn

from tag2mask.models.backbones import Backbone
from tag2mask.models.parts.convolution_block import convolution_block, resize_bilinear


class PurNetPredictions(NamedTuple):
    """Logits (N, 1, H, W) of every level, the finest first; the last three are empty without attention."""

    main: list[Tensor]
    """P: the saliency; the first is the final prediction."""
    promotion: list[Tensor]
    """The promotion subnetwork's own saliency."""
    rectification: list[Tensor]
    """G^: the rectification subnetwork's own saliency."""
    error: list[Tensor]
    """x with E = tanh(x) in (-1, 1): the predicted error G - G^ of the rectification subnetwork's saliency."""


class PurNet(nn.Module):
    """Saliency of one image by a main, a promotion and a rectification subnetwork on one backbone.

    Each subnetwork has its own pyramid.  At level k, with features f_k of the main pyramid and the attentions A_P, A_R
    of the two others, the branch is p = f_k A_P + f_k, convolved, then p A_R + p, then the head.  The attentions enter
    the branch alone and are not handed down a pyramid, so that inference needs them at the finest level only.

    Args:
        backbone: any; each of its side outputs makes a level.
        channels: width of the pyramids and of everything behind them.
        rescale: see `promotion_attention`.
    """

    def __init__(self, backbone: Backbone, *, channels: int = 128, rescale: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.main = _Main(backbone.channels, channels)
        self.promotion = _Promotion(backbone.channels, channels, rescale=rescale)
        self.rectification = _Rectification(backbone.channels, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, H, W) of the saliency of `images` (N, 3, H, W), any size; what training needs is left out."""
        sides = self.backbone(images)
        promoted = self.promotion.attend(self.promotion.pyramid(sides)[0])
        _, rectified = self.rectification.attend(0, self.rectification.pyramid(sides)[0])
        logits = self.main.branches[0](self.main.pyramid(sides)[0], promoted, rectified.tanh())
        return resize_bilinear(logits, images.shape[2:])

    def supervise(self, images: Tensor, *, attention: bool = True) -> PurNetPredictions:
        """All predictions that training compares with masks.

        Args:
            images: (N, 3, H, W), any size.
            attention: False sets both attentions to zero and leaves their subnetworks out: a plain pyramid.
        """
        sides = self.backbone(images)
        features = self.main.pyramid(sides)
        branches = self.main.branches
        if not attention:
            plain = [branch(f) for branch, f in zip(branches, features, strict=True)]
            return PurNetPredictions(_enlarge(plain, images), [], [], [])
        promoted, promotion = self.promotion(sides)
        rectified, rectification, error = self.rectification(sides)
        main = [branch(*given) for branch, *given in zip(branches, features, promoted, rectified, strict=True)]
        levels = (_enlarge(logits, images) for logits in (main, promotion, rectification, error))
        return PurNetPredictions(*levels)


class _Pyramid(nn.Module):
    """Bring side outputs to one width and add them top-down: f_K = c_K, f_k = c_k + u_{k+1}(f_{k+1})."""

    def __init__(self, side_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(convolution_block(width, channels, 1) for width in side_channels)
        self.descents = nn.ModuleList(convolution_block(channels, channels, 3) for _ in side_channels[1:])

    def forward(self, sides: list[Tensor]) -> list[Tensor]:
        """(N, C, h_k, w_k) of every level, the finest first."""
        merged = [self.laterals[-1](sides[-1])]
        for index in range(len(sides) - 2, -1, -1):
            lateral = self.laterals[index](sides[index])
            merged.insert(0, lateral + resize_bilinear(self.descents[index](merged[0]), lateral.shape[2:]))
        return merged


class _Branch(nn.Module):
    """The purnet branch of one level and its head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.purify = convolution_block(channels, channels, 3)
        self.head = _head(channels)

    def forward(self, features: Tensor, promoted: Tensor | None = None, rectified: Tensor | None = None) -> Tensor:
        """Logits (N, 1, h, w) from features and attentions, all (N, C, h, w)."""
        attended = features if promoted is None else features * promoted + features
        attended = self.purify(attended)
        attended = attended if rectified is None else attended * rectified + attended
        logits: Tensor = self.head(attended)
        return logits


class _Main(nn.Module):
    """The subnetwork whose prediction is the result."""

    def __init__(self, side_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.pyramid = _Pyramid(side_channels, channels)
        self.branches = nn.ModuleList(_Branch(channels) for _ in side_channels)


class _Promotion(nn.Module):
    """The subnetwork that says where to look."""

    def __init__(self, side_channels: tuple[int, ...], channels: int, *, rescale: bool) -> None:
        super().__init__()
        self.rescale = rescale
        self.pyramid = _Pyramid(side_channels, channels)
        self.heads = nn.ModuleList(_head(channels) for _ in side_channels)

    def attend(self, features: Tensor) -> Tensor:
        """A_P of `features` (N, C, h, w), of the same shape."""
        return promotion_attention(features, rescale=self.rescale)

    def forward(self, sides: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """A_P (N, C, h, w) and own logits (N, 1, h, w) of every level."""
        features = self.pyramid(sides)
        attention = [self.attend(f) for f in features]
        own = [head(f * a + f) for head, f, a in zip(self.heads, features, attention, strict=True)]
        return attention, own


class _Rectification(nn.Module):
    """The subnetwork that says where a prediction goes wrong, and in which direction."""

    def __init__(self, side_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.pyramid = _Pyramid(side_channels, channels)
        self.generals = nn.ModuleList(_deep_block(channels) for _ in side_channels)
        self.particulars = nn.ModuleList(_deep_block(channels) for _ in side_channels)
        self.classify = nn.ModuleList(_head(channels) for _ in side_channels)
        self.regress = nn.ModuleList(_head(channels) for _ in side_channels)

    def attend(self, level: int, features: Tensor) -> tuple[Tensor, Tensor]:
        """Both g and e = pre_e(features) - g, (N, C, h, w); A_R = tanh(e)."""
        general = self.generals[level](features)
        return general, self.particulars[level](features) - general

    def forward(self, sides: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """A_R (N, C, h, w), own logits and error logits (both (N, 1, h, w)) of every level."""
        attention, own, error = [], [], []
        for level, features in enumerate(self.pyramid(sides)):
            general, particular = self.attend(level, features)
            attention.append(particular.tanh())
            own.append(self.classify[level](general * attention[-1] + general))
            error.append(self.regress[level](particular))
        return attention, own, error


def promotion_attention(features: Tensor, *, rescale: bool = False) -> Tensor:
    """Softmax over the positions of each channel, times softmax over the channels' means.

    The entries of an image sum to 1, so that each is about 1 / (C h w) and attending with it changes next to nothing;
    `rescale` multiplies by C h w, after which they are 1 on average.

    Args:
        features: (N, C, h, w), any size.
        rescale: multiply by C h w; the published attention does not.

    Returns:
        (N, C, h, w), 0 or more.
    """
    channel = features.mean((2, 3), keepdim=True).softmax(1)
    spatial = features.flatten(2).softmax(2).view_as(features)  # (N, C, h, w) -> (N, C, hw) and back
    attention = spatial * channel
    return attention * features[0].numel() if rescale else attention


def _deep_block(channels: int) -> nn.Sequential:
    kernels = (3, 3, 1)
    return nn.Sequential(*(convolution_block(channels, channels, kernel) for kernel in kernels))


def _head(channels: int) -> nn.Sequential:
    """Logits (N, 1, h, w) from features (N, C, h, w)."""
    blocks = (convolution_block(channels, channels, kernel) for kernel in (3, 1))
    return nn.Sequential(*blocks, nn.Conv2d(channels, 1, 1))


def _enlarge(levels: list[Tensor], images: Tensor) -> list[Tensor]:
    return [resize_bilinear(logits, images.shape[2:]) for logits in levels]
