"""gRPC's own handlers of forks are off in the front, unless somebody wants them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = "import os\nimport torchkeeper.rpc.front\nprint(os.environ['GRPC_ENABLE_FORK_SUPPORT'])\n"


@pytest.mark.parametrize(("given", "holds"), [({}, "false"), ({"GRPC_ENABLE_FORK_SUPPORT": "1"}, "1")])
def test_grpc_has_nothing_to_do_with_forks(given: dict[str, str], holds: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GRPC")}
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environ | given, check=True, capture_output=True, text=True
    )
    assert said.stdout == f"{holds}\n"
