"""Whether a server without tokens is there for more than this machine, and whether somebody means that.

In a container that is the convention, TorchServe's image's too: its network is its own, and others come in
where somebody publishes a port. Elsewhere it has to be said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from torchkeeper.config.pods import open_doors
from torchkeeper.config.settings import Settings
from torchkeeper.errors import SettingsError

#: What tells that this is a container: files of Docker's and Podman's; variables of Kubernetes', Podman's,
#: ECS', SageMaker's, Azure ML's, Cloud Run's, Apptainer's and Singularity's.
_FILES = (".dockerenv", "run/.containerenv")
_VARIABLES = (
    *("KUBERNETES_SERVICE_HOST", "container", "ECS_CONTAINER_METADATA_URI_V4"),
    *("SAGEMAKER_BIND_TO_PORT", "AZUREML_MODEL_DIR"),
    *("K_SERVICE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"),
)
#: Whose first process is another one has been started for that: containerd's containers have no other sign.
_INITS = frozenset({"systemd", "init", "runit", "dinit", "openrc-init"})
#: The home in TorchServe's image.
_HOME = Path("/home/model-server")


def meant_exposure(settings: Settings, environ: Mapping[str, str], root: Path) -> tuple[str, ...]:
    """A warning if more than this machine is served without tokens; none where there is nothing to say.

    `root` is the machine's /.

    Raises:
        SettingsError: it is so, and nobody has said that it is meant.
    """
    doors = open_doors(settings)
    # What is open under KServe and Vertex AI has been told of where their ports were.
    if not settings.disable_token_authorization or not doors or settings.kserve or settings.vertex:
        return ()
    reach = ", ".join(doors)
    if settings.insecure:
        return (f"WITHOUT TOKENS EVERYBODY WHO REACHES {reach} IS SERVED, as insecure=true says",)
    if (sign := _container(settings.config_file, environ, root)) is not None:
        why = f"it starts because this is a container ({sign}), elsewhere it would need --insecure"
        return (f"WITHOUT TOKENS EVERYBODY WHO REACHES {reach} IS SERVED: {why}",)
    raise SettingsError(
        f"tokens are off, and everybody who reaches {reach} would be served: leave tokens on, "
        "listen on 127.0.0.1, or say --insecure (insecure=true) if that is meant"
    )


def _container(config_file: Path | None, environ: Mapping[str, str], root: Path) -> str | None:
    """What tells that this is a container; None if nothing does."""
    for name in _VARIABLES:
        if environ.get(name):
            return f"{name} is set"
    for file in _FILES:
        if (root / file).exists():
            return f"/{file} is there"
    with contextlib.suppress(OSError):
        if (first := (root / "proc/1/comm").read_text().strip()) not in _INITS:
            return f"process 1 is {first}"
    if Path(environ.get("HOME", "/")) == _HOME or (config_file is not None and config_file.parent == _HOME):
        return f"{_HOME} is TorchServe's image's"
    return None
