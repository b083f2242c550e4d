"""Values that no machine can work with are refused with a reason, in every section."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.runtime import Runtime
from tag2mask.configs.sections.bounds import MOST
from tag2mask.configs.sections.section import Section

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ("rounds=999999999", "rounds 1e+09 is above 20: labels hardly change after the third round"),
        ("classifier.image_size=10000000", "classifier: image_size 1e+07 is above 4096: an image of this side takes"),
        ("segmenter.crop_size=100000", "segmenter: crop_size 100000 is above 4096"),
        ("cams.scales=[1.0, 100000]", "cams: scales 100000 is above 8: images that are enlarged further show nothing"),
        ("segmenter.resize=[100000]", "segmenter: resize 100000 is above 8"),
        ("cams.image_size=4000", None),
        ("classifier.epochs=1000000", "classifier: epochs 1e+06 is above 100000: at a minute each they take ten weeks"),
        ("refinement.iterations=100000", "refinement: iterations 100000 is above 1000: mean-field inference stands"),
        ("saliency.iterations=1000000000", "saliency: iterations 1e+09 is above 1e+07: at ten steps a second"),
        ("segmenter.batch_size=1000000", "segmenter: batch_size 1e+06 is above 4096: no memory holds so many images"),
        ("masking.dilation=100000", "masking: dilation 100000 is above 4096"),
        ("segmenter.seed=100000000000000000000", "segmenter: seed 1e+20 is above 9.22337e+18"),
    ],
)
def test_a_slip_of_a_digit_is_refused_with_a_reason(change: str, reported: str | None) -> None:
    """The message names the field, the value, the bound and why there is one; a large value within it is taken."""
    if reported is None:
        load_config(DEMO, ["classifier.image_size=4000", change])
        return
    with pytest.raises(ConfigError, match=re.escape(reported)):
        load_config(DEMO, [change])


def test_a_side_and_its_scales_are_bounded_together() -> None:
    """Each within its bound, an image may still become too large."""
    with pytest.raises(ConfigError, match=re.escape("prediction: image_size 4000 times scale 4 is above 8192 pixels")):
        load_config(DEMO, ["prediction.image_size=4000", "prediction.scales=[1, 4]"])


def sections(kind: type[Section] = Section) -> Iterator[type[Section]]:
    """All sections of the settings."""
    for derived in kind.__subclasses__():
        if derived.__module__.startswith("tag2mask.configs.") and derived is not Runtime:
            yield derived
        yield from sections(derived)


def counts(schema: Any) -> Iterator[Any]:
    """The schemas of the whole numbers that a field may hold, but those of a choice of few."""
    if schema.get("type") == "integer" and not {"enum", "const"} & schema.keys():
        yield schema
    several = [schema["items"]] if "items" in schema else []
    for part in (*schema.get("anyOf", ()), *schema.get("prefixItems", ()), *several):
        yield from counts(part)


def test_every_count_has_a_bound() -> None:
    """A new field with a whole number, which costs time or memory, is bounded by its own rule or by name."""
    loose = {
        f"{kind.__name__}.{name}"
        for kind in sections()
        for name, schema in kind.model_json_schema().get("properties", {}).items()
        for count in counts(schema)
        if not {"maximum", "exclusiveMaximum"} & count.keys() and not {name, f"{kind.__name__}.{name}"} & MOST.keys()
    }
    assert loose == set()
