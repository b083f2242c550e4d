"""Broken and evil files of weights, drawn from a seed."""

import io
import os
import pickle
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from tests.breakage.cases import Case

REFUSED = "is not a state dict that can be read safely"


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("/nowhere/evil",)


class Exec:
    """Runs Python when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit",)


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


def bad_weights(seed: int) -> list[Case]:
    """The cases; where files are cut and what the noise is depends on the seed."""
    rng = np.random.default_rng(seed)
    return [*_something_else(rng), *_evil(), *_damaged(rng)]


def _something_else(rng: np.random.Generator) -> Iterator[Case]:
    others = {
        "nothing": b"",
        "zeros": bytes(1000),
        "noise": b"\0" + rng.bytes(1000),
        "a page": b"<!DOCTYPE html>not found",
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        "a plain pickle": pickle.dumps(STATE["weight"].tolist()),
        "an archive of something else": zipped(readme=b"x"),
        "an archive of nothing": zipped(),
        "an archive with two pickles": zipped(data_pkl=b"N.", **{"x/data_pkl": b"N."}),
        "numpy's arrays": _numpy(),
        "safetensors": (b"\x40" + bytes(7) + b'{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}').ljust(80),
    }
    for name, content in others.items():
        yield Case(name, content, REFUSED)


def _numpy() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weight=np.ones(3))
    return buffer.getvalue()


def _evil() -> Iterator[Case]:
    evil = {
        "an evil pickle": pickle.dumps(Evil()),
        "evil in the present format": zipped(data_pkl=pickle.dumps({"weight": Evil()}, protocol=2)),
        "evil of a newer protocol": zipped(data_pkl=pickle.dumps({"weight": Evil()}, protocol=4)),
        "code of a newer protocol": zipped(data_pkl=pickle.dumps({"weight": Exec()}, protocol=5)),
        "evil in the old format": saved({"weight": Evil()}, _use_new_zipfile_serialization=False),
        "a whole network": saved(torch.nn.Linear(2, 3).requires_grad_(False).__dict__ | {"hook": print}),
    }
    for name, content in evil.items():
        yield Case(name, content, REFUSED)


def _damaged(rng: np.random.Generator) -> Iterator[Case]:
    present, old = SOUND["a state dict"], SOUND["the old format"]
    for number in range(4):
        yield Case(f"cut short, {number}", present[: int(rng.integers(1, len(present) - 30))], REFUSED)
    for number in range(2):
        yield Case(f"the old format, cut short, {number}", old[: int(rng.integers(1, 160))], REFUSED)
    yield Case("a flipped bit", present.replace(b"weight", b"weighs", 1), REFUSED)
    yield Case("its end lost to zeros", present[:-100] + bytes(100), REFUSED)
