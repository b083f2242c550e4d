"""Files of weights are looked at without torch: sound ones pass, and broken and evil ones are refused in one line."""

import io
import os
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tag2mask.tasks.networks.factory import read_state
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.networks.weights_file import check_weights_file

EVIL = os.path.join(tempfile.gettempdir(), f"tag2mask-evil-{os.getpid()}")
"""Folder that is made where a broken file is believed."""


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, (EVIL,)


def saved(value: Any, **options: Any) -> bytes:
    """What torch writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name.replace('_', '.')}", content)
    return buffer.getvalue()


STATE = {"weight": torch.ones(3, 2), "steps": torch.tensor(3), "half": torch.ones(2, dtype=torch.bfloat16)}
SOUND = {
    "a state dict": saved(STATE),
    "an ordered one": saved(torch.nn.Linear(2, 3).state_dict()),
    "parameters": saved({"weight": torch.nn.Parameter(torch.ones(2))}),
    "the old format": saved(STATE, _use_new_zipfile_serialization=False),
    "the old format, parameters": saved(torch.nn.Linear(2, 3).state_dict(), _use_new_zipfile_serialization=False),
    "a newer protocol": saved(STATE, pickle_protocol=2),
}
BROKEN = {
    "nothing": b"",
    "zeros": bytes(1000),
    "text": b"<!DOCTYPE html>not found",
    "a plain pickle": pickle.dumps(STATE["weight"].tolist()),
    "an evil pickle": pickle.dumps(Evil()),
    "evil in the present format": zipped(data_pkl=pickle.dumps({"weight": Evil()}, protocol=2)),
    "evil of a newer protocol": zipped(data_pkl=pickle.dumps({"weight": Evil()}, protocol=4)),
    "evil in the old format": saved({"weight": Evil()}, _use_new_zipfile_serialization=False),
    "a whole network": saved(torch.nn.Linear(2, 3).requires_grad_(False).__dict__ | {"hook": print}),
    "an archive of something else": zipped(readme=b"x"),
    "cut short": SOUND["a state dict"][:-200],
    "cut very short": SOUND["a state dict"][:20],
    "the old format, cut short": SOUND["the old format"][:80],
    "a flipped bit": SOUND["a state dict"].replace(b"weight", b"weighs", 1),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_torch_reads_passes(tmp_path: Path, name: str) -> None:
    """State dicts in the present and the old format pass the look and are read."""
    path = tmp_path / "weights.pth"
    path.write_bytes(SOUND[name])
    check_weights_file(path)
    assert read_state(path)


@pytest.mark.parametrize("name", BROKEN)
def test_what_torch_refuses_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    """The look and the reading both refuse it in one line with the file's name and a remedy, and run nothing of it."""
    path = tmp_path / "weights.pth"
    path.write_bytes(BROKEN[name])
    for read in (check_weights_file, read_state):
        with pytest.raises(WeightsError) as raised:
            read(path)
        message = str(raised.value)
        assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < len(str(path)) + 300
        assert "weights_only" not in message and not os.path.exists(EVIL)


def test_a_folder_and_nothing_are_no_weights(tmp_path: Path) -> None:
    """A path that is no file is refused by its name."""
    for path, reported in ((tmp_path, "is a folder"), (tmp_path / "absent.pth", "no such file")):
        with pytest.raises(WeightsError, match=reported):
            check_weights_file(path)
