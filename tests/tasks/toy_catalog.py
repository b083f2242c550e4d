"""Records of toy stages, for tests that put them into the catalog."""

from tag2mask.tasks.catalog import Stage


def toy_stage(name: str, version: int = 1, **known: bool) -> Stage:
    """The record of a toy stage, whose section bears its name."""
    return Stage(name, version, section=name, title=name, does="", writes="", **known)
