"""The gate before a release."""

from typing import get_args

import pytest

from tag2mask.configs.sections.release import Release, Signal
from tag2mask.tasks.release.gate import SIGNALS, judge, signal_rows

GOOD = {figure: (0.0 if setting.startswith("maximum") else 1.0) for setting, figure in SIGNALS.values()}
"""Figures that pass every threshold."""


def test_every_signal_has_a_threshold_and_every_threshold_a_signal() -> None:
    """The settings and the gate name the same signals."""
    thresholds = {name for name in Release.model_fields if name.startswith(("maximum_", "minimum_"))}
    assert {setting for setting, _ in SIGNALS.values()} == thresholds
    assert set(SIGNALS) == set(get_args(Signal))


def test_good_figures_pass() -> None:
    """A set whose figures are all good is released, and nothing is left unmeasured."""
    judgement = judge(GOOD, Release())
    assert judgement.released and not judgement.failures and not judgement.unmeasured


@pytest.mark.parametrize("signal", list(SIGNALS))
def test_each_signal_alone_can_fail_a_set_and_says_by_how_much(signal: Signal) -> None:
    """One bad figure makes a candidate; the message has signal, value, setting and threshold."""
    setting, figure = SIGNALS[signal]
    value = 0.99 if setting.startswith("maximum") else 0.005
    judgement = judge({**GOOD, figure: value}, Release())
    side = "above" if setting.startswith("maximum") else "below"
    threshold = getattr(Release(), setting)
    assert not judgement.released
    assert judgement.failures == [f"{signal} {value:g} is {side} {setting} {threshold:g}"]


@pytest.mark.parametrize("signal", list(SIGNALS))
def test_a_value_at_its_threshold_passes(signal: Signal) -> None:
    """The threshold itself is good enough."""
    setting, figure = SIGNALS[signal]
    assert judge({**GOOD, figure: getattr(Release(), setting)}, Release()).released


def test_a_missing_signal_is_listed_and_fails_only_where_it_is_required() -> None:
    """What was not measured is reported, and keeps a set back if the settings ask for it."""
    figures = {**GOOD, "miou": None}
    del figures["changed_images"]
    noted = judge(figures, Release())
    assert noted.released and noted.unmeasured == ["changed_images", "miou"]
    required = judge(figures, Release(required=("miou",)))
    assert not required.released and required.failures == ["miou was not measured but is required"]


def test_a_threshold_of_null_shows_a_signal_without_judging_it() -> None:
    """The signal stands in the list with its value."""
    judgement = judge({**GOOD, "miou": 0.01}, Release(minimum_miou=None))
    assert judgement.released
    rows = {row[0]: row[1:] for row in signal_rows(judgement.as_json()["signals"])}
    assert rows["miou"] == ("0.010", "–", "not judged")


def test_a_forced_release_keeps_its_failures() -> None:
    """A person's word lets a set through; what failed stays on record beside the reason."""
    judgement = judge({**GOOD, "miou": 0.01}, Release(), forced="masks are wrong")
    assert judgement.released and len(judgement.failures) == 1
    assert judgement.as_json()["forced"] == "masks are wrong" and judgement.as_json()["verdict"] == "released"
