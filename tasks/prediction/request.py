"""What a folder of predictions was asked for: kept in it, so that it never holds what two models say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.tasks.dataset.whole_folder import check_free
from tag2mask.tasks.store.files import read_json, write_json

REQUEST = "prediction.json"
MODEL, MODEL_DIGEST = "model", "model_sha256"
"""Keys of a request: what the model is called, and the digest of its weights."""


class OtherRequest(UserError, ValueError):
    """The folder holds predictions that were asked for otherwise; the message says what differs."""


def open_folder(out: Path, request: Mapping[str, Any]) -> None:
    """Make a folder of predictions, or see that what is there was asked for in the same way.

    A model is known by the digest of its weights, where the request has one; how it was called is kept for people.

    Raises:
        OtherRequest: it was not; the message names what differs.
        FolderInTheWay: it holds something else.
    """
    begun = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if REQUEST not in begun:
        check_free(out)
    earlier = read_json(out / REQUEST) if REQUEST in begun and begun != {REQUEST} else dict(request)
    if MODEL_DIGEST in request and earlier.get(MODEL_DIGEST) == request[MODEL_DIGEST]:
        earlier = {**earlier, MODEL: request.get(MODEL)}
    if other := differences(earlier, request):
        raise OtherRequest(
            f"{out / REQUEST}: this folder was asked for otherwise: {'; '.join(other)}; name a new --out"
        )
    write_json(out / REQUEST, dict(request))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two requests, such as `flip was true and is false now`."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new)
        elif old != new:
            found.append(f"{name} was {_shown(old)} and is {_shown(new)} now")
    return found


def _shown(value: Any) -> str:
    return "off" if value is None else "on" if isinstance(value, Mapping) else json.dumps(value)
