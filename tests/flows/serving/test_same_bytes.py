"""Every stage that goes image by image, by every executor and number of workers: the same bytes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tag2mask.configs.document import commented_yaml
from tag2mask.configs.load import load_config
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.demo.scenes import write_demo
from tests.flows.serving.test_dask import digests
from tests.small_run import SCENES, write_settings

pytestmark = [pytest.mark.breakage, pytest.mark.timeout(3600)]  # five minutes: too long for every change
OTHER_WAY = (
    "name=other",
    "initial_labels=cam_refinement",
    "next_labels=fusion",
    "saliency.targets=prior",
    "dataset.test_split=test.txt",
    "cosaliency.provider=icnet",
    "cosaliency.backbone={name: squeezenet1_1, output_stride: 16}",
    "cosaliency.image_size=64",
    "cosaliency.group_size=2",
    "cosaliency.iterations=4",
    "cosaliency.targets={salient: 0, cam: 0, unsalient: 0, no_cam: 0}",
)
"""Changes to the small run's settings that bring in the stages which the published way has not."""
WAYS = (("processes", "--cores", "3"), *(("dask", "--cores", "1", "--dask", f"local:{count}") for count in (1, 2, 3)))


def run(folder: Path, root: str, executor: str, *more: str) -> None:
    """Both settings of a folder, one after the other."""
    for name in ("small", "other"):
        command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", f"{name}.yaml", "--root", root]
        command += ["--precision", "float32", "--engine", "local", "--executor", executor, *more]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn scenes, two settings, and a store that was made without workers."""
    made = tmp_path_factory.mktemp("bytes")
    write_demo(made / "data", **SCENES)
    kept_aside = (made / "data" / "val.txt").read_text().split()
    (made / "data" / "val.txt").write_text("\n".join(kept_aside[:2]))
    (made / "data" / "test.txt").write_text("\n".join(kept_aside[2:]))
    config = load_config(write_settings(made), OTHER_WAY)
    (made / "other.yaml").write_text(commented_yaml(config, made), encoding="utf-8")
    run(made, "here", "here", "--cores", "2")
    return made


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[-1].replace(":", "-"))
def test_every_executor_and_number_of_workers_makes_the_same_bytes(folder: Path, way: tuple[str, ...]) -> None:
    """Made anew by workers, whatever their kind and number, each image-wise stage of the catalog has the same bytes."""
    expected = digests(folder / "here")
    root = f"by-{way[0]}-{way[-1].replace(':', '-')}"
    shutil.copytree(folder / "here", folder / root, symlinks=True)
    for stage in (name for name, stage in CATALOG.items() if stage.spread):
        assert any(name.startswith(f"{stage}/") for name in expected), f"neither of the settings has {stage}"
        shutil.rmtree(folder / root / stage)
    run(folder, root, *way)
    assert digests(folder / root) == expected
