"""The demo: its settings, and its dataset, which is drawn."""

import os
import shutil
from pathlib import Path

from tag2mask.configs.strict_yaml import yaml_value
from tag2mask.flows.init import packaged


def demo_settings(root: Path) -> tuple[Path, list[str]]:
    """Draw the demo's dataset below the store, unless it is there; the settings file and the changes that name it."""
    data = root.absolute() / ".demo-data"
    draw_demo(data)
    places = {"dataset.root": data, "saliency_set.root": data / "saliency"}
    return packaged("demo.yaml"), [f"{name}={yaml_value(str(place))}" for name, place in places.items()]


def draw_demo(folder: Path) -> None:
    """Draw the demo's dataset; the folder is complete or absent, whatever happens."""
    if folder.exists():
        return
    from tag2mask.tasks.demo.scenes import write_demo

    aside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    write_demo(aside)
    os.rename(aside, folder)
