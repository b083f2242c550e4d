"""How labels are mined, refined and masked."""

from typing import Literal

from pydantic import Field, model_validator

from tag2mask.configs.sections.section import Section, Share


class Mining(Section):
    """Initial labels: OA-CAM against saliency, conflicts, potential-object mining."""

    foreground: Share = 0.3
    """Class evidence (and background evidence 1 - saliency) below this counts as none; lower grows the objects."""
    conflict: Share = 0.9
    """A pixel where two or more evidences exceed this is ignored."""
    saliency: int = Field(default=32, ge=0, le=255)
    """Saliency (0-255) from which a background pixel becomes ignored: salient, but of no class."""
    attention: Share = 0.8
    """OA-CAM evidence above this counts as fully salient."""
    cam_background: Share = 0.3
    """CAM evidence at or below this is no object, when a class got no pixel at first."""
    minimum_foreground: Share = 0.01
    """A label with a smaller share of foreground is ignored whole; 0 turns the rule off."""
    background: Literal["complement", "map"] = "complement"
    """Evidence of the background: 1 - saliency, as published; or the background map beside the saliency, which is a map
    of its own for `saliency.provider: reciprocal` and `prior`, and the complement for all others."""
    class_conditional: bool = False
    """Use the maps by tag: background is what no tag's map shows, a class is its attention times its map."""
    refine: bool = False
    """Sharpen OA-CAM against the image by the dense CRF first (an option beyond the published method)."""

    @model_validator(mode="after")
    def _one_background(self) -> "Mining":
        if self.class_conditional and self.background == "map":
            raise ValueError(
                "class_conditional takes for background what no tag's map shows; set background to 'complement'"
            )
        return self


class Refinement(Section):
    """Dense CRF over the classes present, on the raw RGB image."""

    iterations: int = Field(default=10, ge=0)
    """Mean-field steps; 0 turns the CRF off."""
    gaussian_xy: float = Field(default=1.0, ge=0.1)
    """Standard deviation of the smoothness kernel, in pixels."""
    gaussian_weight: float = Field(default=3.0, ge=0)
    """Weight of the smoothness kernel."""
    bilateral_xy: float = Field(default=67.0, ge=0.1)
    """Spatial standard deviation of the appearance kernel, in pixels."""
    bilateral_rgb: float = Field(default=3.0, ge=0.1)
    """Color standard deviation of the appearance kernel, in gray levels of 0-255."""
    bilateral_weight: float = Field(default=4.0, ge=0)
    """Weight of the appearance kernel."""
    minimum_probability: Share = 0.05
    """A class takes part where some pixel gives it more than this probability; the cost grows with the classes."""


class CamRefinement(Section):
    """Initial labels without mining: class maps weighted by saliency, a constant background, and the dense CRF."""

    power: float = Field(default=2.0, gt=0)
    """Exponent of the class maps, which lie in [0, 1]; above 1 it makes the objects smaller."""
    attention: bool = False
    """Take the geometric mean of the class maps and those of the integral attention model, which is then trained."""
    saliency_weight: Share = 0.5
    """Share of the evidence that saliency decides; 0 leaves saliency out, 1 is the plain product."""
    background: Share = 0.1
    """Evidence of the background, the same everywhere; lower grows the objects."""
    minimum_foreground: Share = 0.01
    """A label with a smaller share of foreground is ignored whole; 0 turns the rule off."""
    crf: Refinement = Refinement(gaussian_xy=3.0)
    """Constants of the dense CRF; all tagged classes take part (`minimum_probability` is not read)."""


class Fusion(Section):
    """Labels of the next round: the segmenter's prediction fused with labels 0, and the dense CRF."""

    trust: float = Field(default=0.7, ge=0, lt=1)
    """Probability that a labeled pixel of labels 0 is right; chance (1 over the classes at hand) leaves them out."""
    minimum_foreground: Share = 0.01
    """A label with a smaller share of foreground is ignored whole; 0 turns the rule off."""
    crf: Refinement = Refinement(gaussian_xy=3.0)
    """Constants of the dense CRF; classes of prediction and labels 0 take part (`minimum_probability` is not read)."""


class RoundChoice(Section):
    """Which round's labels and segmenter a run delivers, where `deliver` is `best`."""

    minimum_share: Share = 0.01
    """A prediction shows a class that has more than this share of the image's pixels."""
    minimum_gain: Share = 0.0
    """A later round is delivered if its tag F1 exceeds that of the best round before by more than this."""


class Masking(Section):
    """Non-salient region masking: background far from what a segmenter found and from salient regions is ignored."""

    saliency: int = Field(default=0, ge=0, le=255)
    """Saliency (0-255) above which a pixel is salient; 0 is the published 'any non-zero'."""
    dilation: int = Field(default=30, ge=1)
    """Side of the square by which the kept region grows, in pixels."""
    minimum_tags: int = Field(default=2, ge=1)
    """Images with at least this many tags are masked, the others keep the prediction."""
    minimum_foreground: Share = 0.01
    """A label with a smaller share of foreground is ignored whole; 0 turns the rule off."""
