"""A small run of the whole method from the command line: made once, for all tests that look at a finished one."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tag2mask.configs.document import commented_yaml
from tag2mask.configs.load import load_config
from tag2mask.flows.init import packaged
from tag2mask.tasks.demo.scenes import write_demo
from tests.flows.published_way import PUBLISHED

TRAINED = ("classifier", "attention", "saliency", "segmenter")
TAGGERS = ("classifier", "attention")
SMALL = (
    *PUBLISHED,
    *(f"{section}.backbone={{name: squeezenet1_1, output_stride: 16}}" for section in TRAINED),
    *(f"{section}.image_size=64" for section in (*TAGGERS, "cams", "attention_maps", "saliency")),
    *(f"{section}.class_init=published" for section in TAGGERS),
    *(f"{section}.optimizer=sgd" for section in (*TAGGERS, "saliency")),
    *(f"{section}.learning_rate=0.005" for section in TAGGERS),
    *(f"{section}.batch_size=5" for section in TAGGERS),
    *(f"{section}.epochs=4" for section in TAGGERS),
    "classifier.accumulate_from=1",
    "saliency.iterations=25",
    "saliency.learning_rate=0.03",
    "saliency.batch_size=4",
    "segmenter.iterations=6",
    "segmenter.batch_size=4",
    "segmenter.crop_size=64",
    *(f"{section}.image_size=80" for section in ("segmenter", "prediction")),
    "mining.minimum_foreground=0",
    "masking.minimum_foreground=0",
    "refinement.iterations=2",
    "dataset.minimum_images=1",
    "report.images=2",
)
"""Changes to the demo's settings: the published way, which has more stages, in seconds instead of minutes."""
SCENES = {"scenes": 14, "validation": 4, "saliency": 8, "size": 80}


@dataclass(frozen=True)
class SmallRun:
    """A folder with the files of a finished run, as a person would have them."""

    folder: Path

    @property
    def data(self) -> Path:
        """What was drawn."""
        return self.folder / "data"

    @property
    def root(self) -> Path:
        """The artifact store."""
        return self.folder / "artifacts"

    @property
    def said(self) -> str:
        """What the program printed."""
        return (self.folder / "said.txt").read_text()

    def copied(self, folder: Path) -> "SmallRun":
        """The same in another folder, for tests that change it."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return SmallRun(folder)


def write_settings(folder: Path, name: str = "small") -> Path:
    """Write `<name>.yaml`: the demo's settings made small, for `data` beside it."""
    roots = (f"dataset.root={folder / 'data'}", f"saliency_set.root={folder / 'data' / 'saliency'}", f"name={name}")
    config = load_config(packaged("demo.yaml"), [*SMALL, *roots])
    path = folder / f"{name}.yaml"
    path.write_text(commented_yaml(config, folder), encoding="utf-8")
    return path


def make_small_run(folder: Path) -> None:
    """Draw scenes, write settings, and run the program."""
    write_demo(folder / "data", **SCENES)
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", write_settings(folder).name]
    command += ["--cores", "2", "--precision", "float32"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (folder / "said.txt").write_text(ran.stdout)
