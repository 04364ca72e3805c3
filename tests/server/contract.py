"""schemathesis on a real listener: does it do what its own OpenAPI document says?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from conftest import BIN  # type: ignore[import-not-found]  # pytest puts this folder on the path

#: What schemathesis would have otherwise, and TorchServe has not: routes for any method; parameters that fit
#: one by one and not together. A status from 500 on must be declared, which `faults` looks after.
CHECKS = """
[checks]
unsupported_method.enabled = false
positive_data_acceptance.enabled = false
not_a_server_error.enabled = false
"""
#: A number of workers that the schema allows may be more than this machine's memory does.
COSTLY = """
[[operations]]
include-method = "PUT"
include-path-regex = "^/models/[^/]+(/[^/]+)?$"
enabled = false
"""
#: Every request is for a model that is there, and stays there.
NAMED = """
[parameters]
"path.model_name" = "{model}"
"path.model_version" = "1.0"
"query.min_worker" = 1
"query.max_worker" = 1

[[operations]]
include-method = "DELETE"
enabled = false

[[operations]]
include-path-regex = "/unload$"
enabled = false
"""
FAULTS = """
import schemathesis

@schemathesis.check
def faults(context, response, case):
    declared = case.operation.definition.raw["responses"]
    assert response.status_code < 500 or str(response.status_code) in declared, "not declared"
"""


def hold_to_document(base: str, folder: Path, model: str | None = None) -> None:
    """Fails with what schemathesis found at the base URL; the folder is its working folder.

    Args:
        model: what all requests ask for; None: whatever schemathesis thinks of.
    """
    config = CHECKS + (COSTLY if model is None else NAMED.format(model=model))
    (folder / "schemathesis.toml").write_text(config)
    (folder / "faults.py").write_text(FAULTS)
    done = subprocess.run(
        [
            *(BIN / "st", "--config-file", folder / "schemathesis.toml", "run", f"{base}/api-description"),
            *("--no-color", "--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1"),
            *("--generation-database", "none"),
        ],
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "faults"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert "Tested: " in done.stdout
