"""Work that does little, to test who does it: it is sent to other processes, which import this file."""

import os
import signal
from functools import partial
from pathlib import Path

from tag2mask.tasks.executors.work import OpenWork, Process, one_by_one
from tag2mask.tasks.store.files import write_file

IDS = tuple(f"i{number:02}" for number in range(23))


def toy(out: Path, **faults: object) -> OpenWork:
    """Work that writes `<id>.txt`; see `open_work`."""
    return partial(open_work, out=out, **faults)


def open_work(
    device: str, *, out: Path, once: Path | None = None, lethal: str = "", wrong: str = "", opened: Path | None = None
) -> Process:
    """What a worker does.

    Args:
        device: is written down.
        out: folder of the files.
        once: the worker is killed at the image of this file's name, unless the file exists; it is made then.
        lethal: the worker is killed at this image.
        wrong: an error at this image.
        opened: takes a line for each time that the work is opened.
    """
    if opened is not None:
        with opened.open("a") as file:
            file.write(f"{os.getpid()}\n")

    def work(image_id: str) -> list[Path]:
        if image_id == lethal or (once is not None and image_id == once.name and not once.exists()):
            if once is not None:
                once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if image_id == wrong:
            raise ValueError(f"{image_id} is wrong")
        path = out / f"{image_id}.txt"
        write_file(path, lambda file: file.write(f"{image_id} on {device}".encode()))
        return [path]

    return one_by_one(work)
