"""The gate before a release: signals against thresholds.  It sees figures alone, never labels or masks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tag2mask.configs.errors import UserError
from tag2mask.configs.sections.release import Release, Signal

Verdict = Literal["passed", "failed", "not measured", "not judged"]
SIGNALS: dict[Signal, tuple[str, str]] = {
    "missing_tags": ("maximum_missing_tags", "missing_tags"),
    "untagged": ("maximum_untagged", "untagged"),
    "ignored_share": ("maximum_ignored_share", "ignored_share"),
    "wholly_ignored": ("maximum_wholly_ignored", "wholly_ignored"),
    "class_ratio": ("minimum_class_ratio", "class_ratio"),
    "class_divergence": ("maximum_class_divergence", "class_divergence"),
    "cam_agreement": ("minimum_cam_agreement", "agreement_labels_cam"),
    "saliency_agreement": ("minimum_saliency_agreement", "agreement_labels_saliency"),
    "prediction_agreement": ("minimum_prediction_agreement", "agreement_labels_prediction"),
    "changed_images": ("maximum_changed_images", "changed_images"),
    "miou": ("minimum_miou", "miou"),
    "miou_drop": ("maximum_miou_drop", "miou_drop"),
}
"""Signal -> its setting, and its name among the figures."""


class NoReason(UserError, ValueError):
    """A set is to be released whatever the gate says, but nobody says why."""


@dataclass(frozen=True)
class Judged:
    """One signal and what the gate says of it."""

    signal: str
    value: float | None
    threshold: float | None
    setting: str
    verdict: Verdict
    required: bool = False
    """Its absence fails the set."""

    @property
    def fails(self) -> bool:
        """Whether it keeps the set from being released."""
        return self.verdict == "failed" or (self.required and self.verdict == "not measured")

    def __str__(self) -> str:
        """The signal in words, e.g. `missing_tags 0.41 is above maximum_missing_tags 0.25`."""
        if self.value is None:
            return f"{self.signal} was not measured{' but is required' if self.required else ''}"
        if self.threshold is None:
            return f"{self.signal} {self.value:.3g} is not judged"
        wrong = "above" if self.setting.startswith("maximum") else "below"
        side = "within" if self.verdict == "passed" else wrong
        return f"{self.signal} {self.value:.3g} is {side} {self.setting} {self.threshold:g}"


@dataclass(frozen=True)
class Judgement:
    """What the gate says of a label set."""

    signals: tuple[Judged, ...]
    forced: str | None = None
    """Why a person released it in spite of the gate; None where nobody did."""

    @property
    def failures(self) -> list[str]:
        """The signals that failed, in words."""
        return [str(signal) for signal in self.signals if signal.fails]

    @property
    def unmeasured(self) -> list[str]:
        """Names of the signals that were not measured."""
        return [signal.signal for signal in self.signals if signal.verdict == "not measured"]

    @property
    def released(self) -> bool:
        """Whether the set becomes a release."""
        return self.forced is not None or not self.failures

    def as_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {
            "verdict": "released" if self.released else "candidate",
            "signals": [asdict(signal) for signal in self.signals],
            "failures": self.failures,
            "not_measured": self.unmeasured,
            "forced": self.forced,
        }


def judge(figures: Mapping[str, float | None], release: Release, *, forced: str | None = None) -> Judgement:
    """Hold figures against the thresholds.

    Args:
        figures: `measure_labels`' signals, with `changed_images`, `miou` and `miou_drop` where they are known.
        release: the thresholds.  A value equal to its threshold passes.
        forced: why the set is to be released whatever the figures say.

    Raises:
        NoReason: the reason is blank.
    """
    check_reason(forced)
    judged = []
    for signal, (setting, figure) in SIGNALS.items():
        value, threshold = figures.get(figure), getattr(release, setting)
        verdict = _verdict(value, threshold, maximum=setting.startswith("maximum"))
        judged.append(Judged(signal, value, threshold, setting, verdict, signal in release.required))
    return Judgement(tuple(judged), forced)


def check_reason(forced: str | None) -> None:
    """Refuse a blank reason; None, which leaves the set to the gate, is none to be refused.

    Raises:
        NoReason: it is empty or blank.
    """
    if forced is not None and not forced.strip():
        raise NoReason(
            f"the reason {forced!r} for a release whatever the gate says is blank: say why, "
            'such as --force-release "checked by eye", or leave it out'
        )


def _verdict(value: float | None, threshold: float | None, *, maximum: bool) -> Verdict:
    if value is None:
        return "not measured"
    if threshold is None:
        return "not judged"
    return "passed" if (value <= threshold if maximum else value >= threshold) else "failed"


def signal_rows(signals: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Rows of a table from the `signals` of a manifest: signal, value, threshold, verdict."""
    rows = []
    for signal in signals:
        sign = "≤" if signal["setting"].startswith("maximum") else "≥"
        value = "–" if signal["value"] is None else f"{signal['value']:.3f}"
        threshold = "–" if signal["threshold"] is None else f"{sign} {signal['threshold']:g}"
        rows.append((signal["signal"], value, threshold, signal["verdict"]))
    return rows
