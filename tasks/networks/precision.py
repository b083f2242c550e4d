"""The precision that suits a machine: bfloat16 where it has instructions for it, float32 everywhere else.

A processor without them emulates bfloat16, 10 to 50 times slower than float32.  What the chip has is not all: a limit
set from outside (`ONEDNN_MAX_CPU_ISA`, `ATEN_CPU_CAPABILITY`) leaves torch without instructions that the chip has.
Nor is every network faster by them: the backward pass of depthwise convolutions of 5 x 5 takes 2.6 times as long in
bfloat16 on a processor with avx512_bf16 and no AMX, which outweighs what the others win (docs/computers.md).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

CPU_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Names in `torch.cpu.get_capabilities()` of instructions that multiply bfloat16: two of x86, two of Arm."""
ONEDNN_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Where oneDNN looks for its limit; the first that is not empty counts."""
ONEDNN_WITHOUT = frozenset({"sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2", "avx512_core", "avx512_core_vnni"})
"""Its values, in any case of letters, that leave it without them; what it does not know it ignores, as we do."""
ATEN_VARIABLE = "ATEN_CPU_CAPABILITY"
ATEN_WITHOUT = frozenset({"default", "avx2"})
"""Its values, in small letters only, below the instruction sets that have them."""


@dataclass(frozen=True)
class PrecisionChoice:
    """A precision, and why it was taken."""

    name: Literal["float32", "bfloat16"]
    reason: str
    is_emulated: bool = False
    """Whether the device has to emulate it: right, but slow."""

    def __str__(self) -> str:
        """Such as `float32 (the processor has no bfloat16 instructions)`."""
        return f"{self.name} ({self.reason})"


def choose_precision(
    asked: Literal["auto", "float32", "bfloat16"], device: str, *, wide_depthwise: Callable[[], bool] = lambda: False
) -> PrecisionChoice:
    """Settle the precision of a training in this process.

    Args:
        asked: what the user says; `auto` takes bfloat16 where the device has instructions for it, and they help.
        device: `cpu` or `cuda`.
        wide_depthwise: says whether depthwise convolutions above 3 x 3 are trained; asked where it matters alone.
    """
    chip = torch.cpu.get_capabilities()
    has, reason = _gpu_support() if device == "cuda" else cpu_support(chip, os.environ)
    if asked == "auto":
        slower = has and device == "cpu" and chip.get("avx512_bf16") and not chip.get("amx_bf16")
        if slower and wide_depthwise():
            return PrecisionChoice("float32", "trains depthwise convolutions above 3 x 3, slower in avx512_bf16")
        return PrecisionChoice("bfloat16" if has else "float32", reason)
    if asked == "bfloat16" and not has:
        return PrecisionChoice("bfloat16", f"as asked for, although {reason}: many times slower than float32", True)
    return PrecisionChoice(asked, "as asked for")


def has_wide_depthwise(network: nn.Module) -> bool:
    """Whether a network has depthwise convolutions above 3 x 3."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(1 < one.in_channels == one.groups and max(one.kernel_size) > 3 for one in convolutions)


def cpu_support(capabilities: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[bool, str]:
    """Whether torch can use bfloat16 instructions of the processor, and what says so.

    Args:
        capabilities: as `torch.cpu.get_capabilities()` reports them of the chip.
        environment: variables of the process, as they were when torch was loaded.
    """
    found = [name for name in CPU_INSTRUCTIONS if capabilities.get(name)]
    if not found:
        return False, "the processor has no bfloat16 instructions"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False, "this build of torch lacks oneDNN, which would use the processor's bfloat16 instructions"
    if limit := _limit(environment):
        return False, f"{limit} rules out the processor's bfloat16 instructions"
    return True, f"the processor has {found[0]}"


def _limit(environment: Mapping[str, str]) -> str:
    """The variable and the value that keep torch from bfloat16 instructions; "" if nothing does."""
    variable = next((name for name in ONEDNN_VARIABLES if environment.get(name)), None)
    if variable is not None and environment[variable].lower() in ONEDNN_WITHOUT:
        return f"{variable}={environment[variable]}"
    capability = environment.get(ATEN_VARIABLE)
    return f"{ATEN_VARIABLE}={capability}" if capability in ATEN_WITHOUT else ""


def _gpu_support() -> tuple[bool, str]:
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return True, "the GPU has it in hardware"
    return False, "the GPU has no bfloat16 in hardware"
