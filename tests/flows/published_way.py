"""The demo's settings with labels as published: mining with its attention model, and masking."""

from tag2mask.configs.load import load_config
from tag2mask.configs.schema import Config
from tag2mask.flows.init import packaged

PUBLISHED = ("initial_labels=mining", "next_labels=masking")
"""What the demo's settings take another way, which is shorter."""


def published(*changes: str) -> Config:
    """The demo's settings in the published way, with changes."""
    return load_config(packaged("demo.yaml"), (*PUBLISHED, *changes))
