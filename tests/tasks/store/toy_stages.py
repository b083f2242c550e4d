"""Stages that do nothing useful, fast, to test the store; run as a program, they are the child that gets killed.

`toy_index` copies files and tells their digests per image; `toy_maps` writes two files per image and logs the image.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from tag2mask.configs.sections.section import Section, Unhashed
from tag2mask.tasks.building.build import Order, build
from tag2mask.tasks.executors.images import process_images
from tag2mask.tasks.store import store as store_module
from tag2mask.tasks.store.artifact import Artifact, Recipe
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.files import NoRoomOnDisk, write_file, write_json
from tag2mask.tasks.store.manifest import MANIFEST
from tag2mask.tasks.store.parts import PARTS
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store, StoreNotWritable

SHARD = 4
CHANGES = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "sqlite3.connect"}
"""Audited events of the interpreter that touch files."""

NOT_OF_THE_RECIPE = Unhashed("a test's")


class Toy(Section):
    """Settings of the toy stages."""

    factor: int = 1
    """Enters the bytes of the maps."""
    size: int = 100
    """Bytes of a map."""
    log: Annotated[str, NOT_OF_THE_RECIPE] = ""
    """File that takes the id of each image processed."""
    pause: Annotated[float, NOT_OF_THE_RECIPE] = 0.0
    """Seconds per image."""
    step: Annotated[int, NOT_OF_THE_RECIPE] = 1
    """Of the moments to kill at, every how many-th is tried."""
    salt: Annotated[str, NOT_OF_THE_RECIPE] = ""
    """Enters the bytes, but not the recipe: a stage that is not deterministic."""


def run_index(config: Toy, out: Path, runtime: StageRuntime, *, images: Path) -> None:
    """Copy the images; the digest of each is its item."""
    names = {path.stem: path.name for path in sorted(images.iterdir())}

    def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id in image_ids:
            copy = out / "images" / names[image_id]
            _write(copy, (images / copy.name).read_bytes())
            yield image_id, [copy]

    process_images(list(names), out, process, runtime)
    write_json(out / "items.json", {path.stem: file_digest(path) for path in sorted((out / "images").iterdir())})


def run_maps(config: Toy, out: Path, runtime: StageRuntime, *, index: Path) -> None:
    """Write `<id>.bin` and `background/<id>.bin` for each image, and `metrics.json`."""
    images = {path.stem: path for path in sorted((index / "images").iterdir())}

    def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id in image_ids:
            note(config.log, image_id)
            time.sleep(config.pause)
            text = f"{config.factor} {config.salt} {images[image_id].read_text()} ".encode()
            paths = [out / f"{image_id}.bin", out / "background" / f"{image_id}.bin"]
            for path in paths:
                _write(path, (text * config.size)[: config.size])
            yield image_id, paths

    process_images(list(images), out, process, runtime)
    write_json(out / "metrics.json", {"images": len(images)})


def _write(path: Path, content: bytes) -> None:
    write_file(path, lambda file: file.write(content))


def note(log: str, line: str) -> None:
    """Append a line to a log, at once."""
    if log:
        with open(log, "ab", buffering=0) as file:
            file.write(f"{line}\n".encode())


def noted(log: Path) -> list[str]:
    """Lines of a log."""
    return log.read_text().split() if log.exists() else []


def install() -> None:
    """Make the toy stages importable as stages."""
    for name, run in (("toy_index", run_index), ("toy_maps", run_maps)):
        module = ModuleType(f"tag2mask.tasks.{name}")
        module.run = run  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module


def order_index(store: Store, images: Path, **changes: Any) -> Order:
    """An order of `toy_index`."""
    recipe = Recipe("toy_index", 1, {}, {"images": store.digests.of_path(images)})
    return Order(store.root, recipe, Toy(), {"images": images}, **changes)


def order_maps(store: Store, index: Artifact, config: Toy, **changes: Any) -> Order:
    """An order of `toy_maps`."""
    recipe = Recipe("toy_maps", 1, config.recipe(), {"index": index.digest})
    return Order(store.root, recipe, config, {"index": index.path}, **changes)


def build_maps(root: Path, images: Path, config: Toy, *, force: bool = False) -> Artifact:
    """Build the index, if need be, and the maps."""
    install()
    store, runtime = Store(root), StageRuntime(shard=SHARD)
    index = build(order_index(store, images), runtime)
    return build(order_maps(store, index, config, force=force), runtime)


def draw_images(folder: Path, numbers: range) -> Path:
    """Write `p<number>.txt` with bytes of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"p{number:03}.txt").write_text(f"image {number}")
    return folder


def contents(artifact: Artifact) -> dict[str, bytes]:
    """Name -> bytes of all files of an artifact but its manifest and table, hidden ones included."""
    files = {path.relative_to(artifact.path).as_posix(): path for path in artifact.path.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in (MANIFEST, PARTS)}


def start_child(*arguments: object, within: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start this file as a program, with this interpreter and its search path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command = [*within, sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def _build_on_go(root: Path, images: Path, config: Toy, force: bool) -> None:
    """Child: say ready, wait for a line, build, say the digest."""
    print("ready", flush=True)
    sys.stdin.readline()
    print(build_maps(root, images, config, force=force).digest, flush=True)


def _killed_at(event: int, root: Path, images: Path, config: Toy, force: bool) -> bool:
    """Build in a fork that is killed just before its event-th change of a file; whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def count_down(name: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if name in CHANGES:
                count += 1
                if count == event:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count_down)
        build_maps(root, images, config, force=force)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _killed_everywhere(root: Path, images: Path, config: Toy, force: bool) -> None:
    """Child: for every change of a file that a build makes, be killed just before it, and build again.

    Prints one JSON object per kill: what was found after it, and what the next attempt made.
    """
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # a killed process loses nothing that it has written
    event = 1 - config.step
    while True:
        event += config.step
        place = root / str(event)
        log = root / f"{event}.log"
        index = build(order_index(Store(place), images), StageRuntime())
        before = build_maps(place, images, config) if force else index
        changed = config.replaced(log=str(log), salt="other" if force else "")
        if not _killed_at(event, place, images, changed, force):
            break
        recipe = order_maps(Store(place), index, config).recipe
        found = Store(place).find(recipe.stage, recipe.key, reread=True)
        after = build_maps(place, images, changed)
        files = {name: file_digest(after.path / name) for name in contents(after)}
        report: dict[str, Any] = {
            "found": found.digest if found else "",
            "before": before.digest,
            "after": after.digest,
        }
        report |= {"noted": noted(log), "sound": files == after.files()}
        print(json.dumps(report), flush=True)


def _fill_disk(mount: Path, images: Path, config: Toy, force: bool) -> None:
    """Child: build on a disk of 2 MiB that is too small, free some of it, build again."""
    store_module.MINIMUM_FREE_BYTES = 0
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)], check=True)
    ballast = mount / "ballast"
    ballast.write_bytes(bytes(2**20))
    print("ready", flush=True)
    try:
        build_maps(mount / "store", images, config)
    except NoRoomOnDisk as error:
        print(f"NoRoomOnDisk {error}", flush=True)
    try:
        import numpy as np

        write_file(mount / "array.npy", lambda file: np.save(file, np.ones(2**20)))
    except NoRoomOnDisk as error:
        print(f"NoRoomOnDisk {error}", flush=True)
    print(sorted(path.name for path in mount.iterdir()), flush=True)
    ballast.unlink()
    print(build_maps(mount / "store", images, config).digest, flush=True)


def _read_only_disk(mount: Path, images: Path, config: Toy, force: bool) -> None:
    """Child: build, make the disk read-only, search and build again."""
    store_module.MINIMUM_FREE_BYTES = 0
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)], check=True)
    made = build_maps(mount / "store", images, config)
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    found = Store(mount / "store").find(made.stage, made.key)
    print(found == made, flush=True)
    for root in (mount / "store", mount / "new"):
        try:
            build_maps(root, images, config.replaced(factor=7))
        except StoreNotWritable as error:
            print(f"StoreNotWritable {error}", flush=True)


def _hold_and_fork(root: Path, images: Path, config: Toy, force: bool) -> None:
    """Child: hold a lock, and fork a worker that outlives it."""
    with Store(root).lock("held"):
        if os.fork() == 0:
            print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)


if __name__ == "__main__":
    install()
    action, given_root, given_images, given_config, given_force = sys.argv[1:]
    actions = {
        "build": _build_on_go,
        "everywhere": _killed_everywhere,
        "fill": _fill_disk,
        "read-only": _read_only_disk,
        "hold": _hold_and_fork,
    }
    actions[action](Path(given_root), Path(given_images), Toy.model_validate_json(given_config), given_force == "True")
