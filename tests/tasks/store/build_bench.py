"""What the tests of building work with: a store, images, and a log of what was processed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tag2mask.tasks.building.build import Order, build
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store
from tests.tasks.store.toy_stages import (
    SHARD,
    Toy,
    draw_images,
    noted,
    order_index,
    order_maps,
)

RUNTIME = StageRuntime(shard=SHARD)


class Bench:
    """A store, images, and a log of the images processed."""

    def __init__(self, folder: Path, images: int = 10) -> None:
        self.root, self.images, self.log = folder / "artifacts", folder / "images", folder / "log"
        self.config = Toy(log=str(self.log))
        draw_images(self.images, range(images))

    @property
    def store(self) -> Store:
        return Store(self.root)

    def index(self) -> Artifact:
        return build(order_index(self.store, self.images), RUNTIME)

    def order(self, *, force: bool = False) -> Order:
        return order_maps(self.store, self.index(), self.config, force=force)

    def maps(self, *, force: bool = False) -> Artifact:
        return build(self.order(force=force), RUNTIME)

    def processed(self) -> list[str]:
        """Images processed since the last call, in order."""
        images = noted(self.log)
        self.log.unlink(missing_ok=True)
        return images


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def own_mounts() -> tuple[str, ...]:
    """Command that starts a program with mounts of its own; skips where the system does not allow that."""
    command = ("unshare", "-rm")
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("the system does not let this user mount a small disk")
    return command


def machine(shared: Path, place: Path) -> tuple[str, ...]:
    """Command that starts a program as on a machine that mounts a folder elsewhere; skips where that is not allowed."""
    place.mkdir(parents=True)
    mount = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    return (*own_mounts(), "sh", "-c", mount, "sh", str(shared), str(place))
