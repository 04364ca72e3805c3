"""What Intel's settings of TorchServe ask for, and what the log says of them."""

from __future__ import annotations

import pytest

from torchkeeper.config.intel import Pinning, pinning, said_of_intel, wished_execution
from torchkeeper.wire.execution import AS_IT_IS, Execution


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (None, Pinning()),
        ("--ncores_per_instance 2 --node_id 0", Pinning(2, 0)),
        ("--ncores-per-instance=4 --node-id=1", Pinning(4, 1)),
        ("--ncore_per_instance 3", Pinning(3)),
        (
            "--use_logical_core --disable_numactl --node_id 1 --ninstances 4",
            Pinning(None, 1, ("--use_logical_core", "--disable_numactl", "--ninstances 4")),
        ),
        (
            "--ncores_per_instance 0 --node_id -1 --ncores_per_instance",
            Pinning(None, None, ("--ncores_per_instance 0", "--node_id", "-1", "--ncores_per_instance")),
        ),
        ("--node_id " + "9" * 5000, Pinning(ignored=("--node_id " + "9" * 5000,))),
    ],
)
def test_of_the_launchers_arguments_two_count(arguments: str | None, wanted: Pinning) -> None:
    assert pinning(True, arguments) == wanted
    assert pinning(False, arguments) is None


def test_the_extension_is_a_wish_for_two_variants() -> None:
    assert wished_execution(False) == AS_IT_IS
    assert wished_execution(True) == Execution(memory_format="channels_last", dtype="bfloat16")


@pytest.mark.parametrize(
    ("extension", "pinned", "said"),
    [
        (False, None, ()),
        (False, Pinning(), ("cpu_launcher_enable: workers are pinned to their share of the cores",)),
        (
            True,
            Pinning(2, 1, ("--a", "--b 3")),
            (
                "ipex_enable: models without a section execution run in channels_last and bfloat16, where "
                "they and the processor can; cpu_launcher_enable: workers are pinned to 2 cores each of NUMA "
                "node 1; of its arguments --a, --b 3 mean nothing here",
            ),
        ),
    ],
)
def test_one_line_says_so(extension: bool, pinned: Pinning | None, said: tuple[str, ...]) -> None:
    assert said_of_intel(extension, pinned) == said
