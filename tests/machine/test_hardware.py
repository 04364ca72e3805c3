"""Which GPUs the server may use: CUDA_VISIBLE_DEVICES as CUDA reads it, and the driver's list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from torchkeeper.config.model_rules import machine
from torchkeeper.machine.hardware import (
    another_machine,
    cpu_count,
    features_of_speed,
    gpu_count,
    make_gpu_devices,
    processor_features,
    processor_name,
    visible_gpus,
)

UUIDS = ("GPU-aa11", "GPU-ab22", "GPU-b033", "GPU-c044")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, (0, 1, 2, 3)),
        ("", ()),
        ("-1", ()),
        ("none", ()),
        ("2,3", (2, 3)),
        (" 3 , 1 ", (3, 1)),
        ("3,1,9,0", (3, 1)),
        ("0,-1,1", (0,)),
        ("0,,1", (0,)),
        ("1,x,2", (1,)),
        ("+1,2nd", (1, 2)),
        ("1,2,1", ()),
        ("1,GPU-aa11", (1,)),
        ("GPU-c044,GPU-aa11", (3, 0)),
        ("GPU-b,GPU-ab", (2, 1)),
        ("GPU-a", ()),
        ("GPU-b,GPU-x,GPU-c", (2,)),
        ("GPU-b,GPU-b033", ()),
        ("GPU-b,1", (2,)),
        ("MIG-5f3a", ()),
    ],
)
def test_which_gpus(visible: str | None, expected: tuple[int, ...]) -> None:
    assert visible_gpus(visible, UUIDS) == expected


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """The driver's folder of a machine with the cards of UUIDS."""
    for number, uuid in enumerate(UUIDS):
        place = tmp_path / f"0000:{number:02x}:00.0"
        place.mkdir()
        (place / "information").write_text(f"Model: \t\t A100\nGPU UUID: \t {uuid}\nDevice Minor: \t 0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("visible", "limit", "expected"),
    [
        (None, None, 4),
        (None, 3, 3),
        (None, 9, 4),
        ("", None, 0),
        ("-1", None, 0),
        ("1,2", None, 2),
        ("1,2", 1, 1),
        ("1,9,2", None, 1),
        ("GPU-b033", None, 1),
        ("GPU-b033,GPU-beef", None, 1),
        ("MIG-5f3a,MIG-77", None, 1),
    ],
)
def test_how_many_gpus(driver: Path, visible: str | None, limit: int | None, expected: int) -> None:
    assert gpu_count(visible, limit, driver) == expected


def test_a_driver_that_tells_no_uuids_is_believed(driver: Path) -> None:
    for place in driver.iterdir():
        (place / "information").write_text("GPU UUID: \t GPU-????????-????\n")
    assert gpu_count("GPU-b033,GPU-c044", None, driver) == 2


def test_without_a_driver_there_is_none(tmp_path: Path) -> None:
    assert gpu_count("0", None, tmp_path / "gpus") == gpu_count(None, None, tmp_path / "gpus") == 0


def test_a_quota_of_the_cgroup_counts(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text("50000 100000\n")
    assert cpu_count(file) == 1
    file.write_text("max 100000\n")
    assert cpu_count(file) == cpu_count(tmp_path / "absent")


def test_the_driver_is_asked_for_a_device_that_is_not_there(tmp_path: Path) -> None:
    program, device = tmp_path / "modprobe", tmp_path / "uvm"
    program.write_text(f'#!/bin/sh\necho "$@" >> {device}\n')
    program.chmod(0o755)
    make_gpu_devices(device, str(program))
    assert device.read_text() == "-u -c=0\n"
    make_gpu_devices(device, str(program))
    assert device.read_text() == "-u -c=0\n", "it is there now"
    make_gpu_devices(tmp_path / "other", str(tmp_path / "no such program"))


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (
            "processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nbugs\t: x\n\nflags\t: fpu\n",
            {"fpu", "avx2", "avx512_bf16"},
        ),
        ("processor\t: 0\nFeatures\t: fp asimd fphp\n", {"fp", "asimd", "fphp"}),
        ("processor\t: 0\n", None),
    ],
)
def test_what_the_processor_can_do(tmp_path: Path, text: str, features: set[str] | None) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert processor_features(tmp_path / "cpuinfo") == features


def test_where_nobody_says_what_the_processor_can_do(tmp_path: Path) -> None:
    assert processor_features(tmp_path / "gone") is None


def test_the_processor_is_told_by_its_name_and_by_what_decides_about_speed(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 amx_bf16 sse\n")
    assert features_of_speed(info) == ("avx2", "amx_bf16")
    assert processor_name(info) == "Some CPU @ 2 GHz"
    assert features_of_speed(tmp_path / "none") == ()
    assert processor_name(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("told", "cores", "features", "said"),
    [
        ({}, 2, {"avx2"}, None),
        ({"cores": 2, "features": ["avx2"]}, 2, {"avx2"}, None),
        ({"cores": 2}, 2, {"avx2"}, None),
        ({"cores": 8}, 2, {"avx2"}, "its settings were found for 8 cores, not 2"),
        (
            {"cores": 8, "features": ["avx512f", "amx_bf16"]},
            2,
            {"avx2"},
            "its settings were found for 8 cores, not 2, and a processor with amx_bf16, avx512f, "
            "and a processor without avx2",
        ),
    ],
)
def test_another_machine_is_told_by_its_cores_and_features(
    told: dict[str, Any], cores: int, features: set[str], said: str | None
) -> None:
    assert not told or machine.fits(told)
    assert another_machine(told, cores, features) == said
