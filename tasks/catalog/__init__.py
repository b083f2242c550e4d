"""The catalog of stages: one record each, in the order of the method.

Whoever needs to know a stage reads its record: planning, running, serving, report, releases, the documentation.
A new stage costs its file, its section of the settings, its record here, its edge in the DAG, and its test.  Torch is
not imported: planning a run must not wait for it.
"""

from tag2mask.tasks.catalog.class_maps import CLASS_MAPS
from tag2mask.tasks.catalog.indexes import INDEXES
from tag2mask.tasks.catalog.labels import LABELS
from tag2mask.tasks.catalog.measures import MEASURES
from tag2mask.tasks.catalog.saliency import SALIENCY
from tag2mask.tasks.catalog.stage import IMAGE_SUFFIXES, PictureKind, Stage

__all__ = ["CATALOG", "IMAGE_SUFFIXES", "PictureKind", "Stage", "section_of"]

CATALOG = {stage.name: stage for stage in (*INDEXES, *CLASS_MAPS, *SALIENCY, *LABELS, *MEASURES)}
"""Name -> record, in the order of the method."""


def section_of(stage: str) -> str:
    """Section of the settings that a stage reads; for a stage of another release, which has none here, its name."""
    return CATALOG[stage].section if stage in CATALOG else stage
