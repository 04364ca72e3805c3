"""schemathesis on a real listener: does it do what its own OpenAPI document says?"""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import BIN  # type: ignore[import-not-found]  # pytest puts this folder on the path

#: What schemathesis would have otherwise, and TorchServe has not: routes for any method; parameters that fit
#: one by one and not together; 503 as an honest answer.
OTHERWISE = "unsupported_method,positive_data_acceptance,not_a_server_error"
#: A number of workers that the schema allows may be more than this machine's memory does.
COSTLY = ("put /models/{model_name}", "put /models/{model_name}/{model_version}")


def hold_to_document(base: str, folder: Path) -> None:
    """Fails with what schemathesis found at the base URL; the folder is its working folder."""
    done = subprocess.run(
        [
            BIN / "st",
            *("run", f"{base}/api-description", "--no-color"),
            *("--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1"),
            *("--generation-database", "none", "--exclude-checks", OTHERWISE),
            *(f"--exclude-operation-id={operation}" for operation in COSTLY),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert "Tested: " in done.stdout
