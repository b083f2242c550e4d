"""A folder that is written whole or not at all, by commands beside each other and after ones that were killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tag2mask.tasks.dataset.whole_folder import FolderInTheWay, made_whole

FILL = """
import sys, time
from pathlib import Path
from tag2mask.tasks.dataset.whole_folder import made_whole
with made_whole(Path(sys.argv[1])) as folder:
    (folder / "theirs").touch()
    print("begun", flush=True)
    sys.stdin.readline()
"""


def other_command(out: Path) -> subprocess.Popen[str]:
    """A process that has begun to fill the folder, and goes on when it is sent a line."""
    process = subprocess.Popen([sys.executable, "-c", FILL, out], stdin=-1, stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


def test_what_a_killed_command_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """A command killed while it wrote leaves a hidden folder, of which the next one leaves nothing."""
    process = other_command(tmp_path / "out")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".out.") and not (tmp_path / "out").exists()
    with made_whole(tmp_path / "out") as folder:
        (folder / "mine").touch()
    assert os.listdir(tmp_path) == ["out"] and os.listdir(tmp_path / "out") == ["mine"]


def test_two_commands_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    """The first to be ready has its folder whole, the other one is refused, and nothing of it is left."""
    process = other_command(tmp_path / "out")
    with made_whole(tmp_path / "out") as folder:
        (folder / "mine").touch()
    _, errors = process.communicate("go on\n")
    assert process.returncode == 1 and "FolderInTheWay" in errors and "out exists and is not empty" in errors
    assert os.listdir(tmp_path) == ["out"] and os.listdir(tmp_path / "out") == ["mine"]


def test_folders_of_other_names_and_machines_stay(tmp_path: Path) -> None:
    """What began under another name, or on another machine, whose numbers of processes say nothing here, is left."""
    others = {".out.2.elsewhere.7.part", ".output.part", ".out.elsewhere.999999999.part"}
    for name in others:
        (tmp_path / name).mkdir()
    with made_whole(tmp_path / "out") as folder:
        (folder / "below").mkdir()
    assert set(os.listdir(tmp_path)) == {"out", *others} and os.listdir(tmp_path / "out") == ["below"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    """After an error there is neither the folder nor what was written of it."""
    with pytest.raises(KeyError), made_whole(tmp_path / "out") as folder:
        (folder / "mine").touch()
        raise KeyError
    (tmp_path / "out").touch()
    with pytest.raises(FolderInTheWay, match="out exists and is not empty; name a new folder with --out"):
        with made_whole(tmp_path / "out"):
            pass
    assert os.listdir(tmp_path) == ["out"]
