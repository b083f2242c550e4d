"""The precision that a machine gets: what the chip has, what a limit from outside leaves of it, what is asked for."""

from typing import Any

import pytest
import torch

from tag2mask.configs.schema import Backbone
from tag2mask.tasks.networks.factory import backbone_network
from tag2mask.tasks.networks.precision import choose_precision, cpu_support, has_wide_depthwise

CHIP = {"architecture": "x86_64", "avx2": True, "avx512_bf16": True, "amx_bf16": False}


def on_chip(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    """Let torch find these capabilities, and no limit."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)


@pytest.mark.parametrize(
    "capabilities, supported",
    [
        (CHIP, True),
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
        ({"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_bfloat16_needs_instructions_of_the_chip(capabilities: dict[str, Any], supported: bool) -> None:
    """Only a processor that multiplies bfloat16 by itself gets it, be it of x86 or Arm."""
    assert cpu_support(capabilities, {})[0] == supported


@pytest.mark.parametrize(
    "limit, supported",
    [
        *(({"ONEDNN_MAX_CPU_ISA": value}, False) for value in ("SSE41", "AVX", "AVX2", "avx2", "AVX2_VNNI")),
        *(({"ONEDNN_MAX_CPU_ISA": value}, False) for value in ("AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")),
        *(({"ONEDNN_MAX_CPU_ISA": value}, True) for value in ("AVX512_CORE_BF16", "avx512_core_fp16", "AVX10_1_512")),
        *(({"ONEDNN_MAX_CPU_ISA": value}, True) for value in ("AVX512_CORE_AMX", "AVX10_2_512_AMX_2", "DEFAULT", "")),
        ({"ONEDNN_MAX_CPU_ISA": "AVX_2"}, True),  # no value of oneDNN's: it sets no limit either
        ({"DNNL_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "", "DNNL_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16", "DNNL_MAX_CPU_ISA": "AVX2"}, True),
        ({"ATEN_CPU_CAPABILITY": "avx2"}, False),
        ({"ATEN_CPU_CAPABILITY": "default"}, False),
        ({"ATEN_CPU_CAPABILITY": "avx512"}, True),
    ],
    ids=str,
)
def test_a_limit_from_outside_counts_more_than_the_chip(limit: dict[str, str], supported: bool) -> None:
    """What oneDNN or ATen may not use is not there, by the values and the precedence that they know."""
    found, reason = cpu_support(CHIP, limit)
    assert found == supported
    assert supported or reason.startswith(tuple(f"{name}={value} " for name, value in limit.items()))


def test_auto_takes_what_the_machine_does_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice says why, and a limit in the environment of this process is respected."""
    on_chip(monkeypatch, avx512_bf16=True)
    assert str(choose_precision("auto", "cpu")) == "bfloat16 (the processor has avx512_bf16)"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    reported = "float32 (ONEDNN_MAX_CPU_ISA=AVX2 rules out the processor's bfloat16 instructions)"
    assert str(choose_precision("auto", "cpu")) == reported
    on_chip(monkeypatch, avx2=True)
    assert str(choose_precision("auto", "cpu")) == "float32 (the processor has no bfloat16 instructions)"


@pytest.mark.parametrize(
    ("chip", "expected"),
    [
        ({"avx512_bf16": True}, "float32"),
        ({"avx512_bf16": True, "amx_bf16": True}, "bfloat16"),  # not measured
        ({"bf16": True}, "bfloat16"),  # likewise
        ({"avx2": True}, "float32"),
    ],
)
def test_auto_takes_float32_where_bfloat16_is_there_and_slower(
    monkeypatch: pytest.MonkeyPatch, chip: dict[str, bool], expected: str
) -> None:
    """Depthwise convolutions above 3 x 3 that are trained rule bfloat16 out on one kind of chip, unless asked for."""
    on_chip(monkeypatch, **chip)
    assert choose_precision("auto", "cpu", wide_depthwise=lambda: True).name == expected
    assert choose_precision("bfloat16", "cpu", wide_depthwise=lambda: True).name == "bfloat16"


@pytest.mark.parametrize(
    ("name", "wide"),
    [("tf_efficientnet_lite0", True), ("mobilenet_v2", False), ("resnet18", False), ("vgg16", False)],
)
def test_the_kind_of_a_backbone_is_seen_without_its_weights(name: str, wide: bool) -> None:
    """EfficientNet's depthwise convolutions of 5 x 5 are found, and none where there are none."""
    with torch.device("meta"):
        network = backbone_network(Backbone(name=name, output_stride=16, weights="none"))
    assert has_wide_depthwise(network) == wide


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either precision can be had anywhere, and one that the machine must emulate says so."""
    on_chip(monkeypatch, avx512_bf16=True)
    assert choose_precision("float32", "cpu").name == "float32"
    assert not choose_precision("bfloat16", "cpu").is_emulated
    on_chip(monkeypatch)
    slow = choose_precision("bfloat16", "cpu")
    assert slow.name == "bfloat16" and slow.is_emulated and "many times slower than float32" in slow.reason


@pytest.mark.parametrize("hardware, expected", [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_speaks_for_itself(monkeypatch: pytest.MonkeyPatch, hardware: bool, expected: str) -> None:
    """On a GPU the processor does not matter, and bfloat16 that the driver emulates does not count."""
    on_chip(monkeypatch, avx512_bf16=not hardware)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or hardware)
    assert choose_precision("auto", "cuda").name == expected
