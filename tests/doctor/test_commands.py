"""What becomes of command lines and images."""

from __future__ import annotations

import pytest

from torchkeeper.doctor.commands import VARIABLES, examine_command, examine_image
from torchkeeper.doctor.finding import Verdict
from torchkeeper.wire import features

WORKS, CHANGED, IGNORED, BROKEN = Verdict.WORKS, Verdict.CHANGED, Verdict.IGNORED, Verdict.BROKEN
PACKAGES = ("packages", CHANGED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("echo torchserve", []),
        ("tail -f /dev/null", []),
        ("torchserve --start --model-store /m", [("torchserve", WORKS)]),
        ("multi-model-server --start --mms-config c", [("multi-model-server", WORKS)]),
        ("/home/venv/bin/torchserve --start", [("torchserve", WORKS)]),
        ("ls /m; torchserve --start && tail -f /dev/null", [("torchserve", WORKS)]),
        ("torchserve --start --plugins-path /p", [("--plugins-path", IGNORED)]),
        ("torchserve --start --workflow-store /w", [("--workflow-store", IGNORED)]),
        ("torchserve --start --log-config=l.xml", [("--log-config", CHANGED)]),
        ("pip install torchserve", [PACKAGES]),
        ("pip3 install -U 'torchserve==0.9.0' torch-model-archiver", [PACKAGES]),
        ("python -m pip install torch-model-archiver", [PACKAGES]),
        ("conda install -y torchserve -c pytorch", [PACKAGES]),
        ("pip install torch && torchserve --start", [("torchserve", WORKS)]),
        ("apt-get install -y openjdk-17-jdk", [("Java", IGNORED)]),
        ("yum install default-jre curl", [("Java", IGNORED)]),
        ("java -cp ts/frontend/model-server.jar org.pytorch.serve.ModelServer", [("command", BROKEN)]),
        ("cp x.py /home/venv/lib/python3.9/site-packages/ts/service.py", [("files", IGNORED)]),
        ("torch-model-archiver --model-name m --handler h.py", [("torch-model-archiver", WORKS)]),
        ("torch-model-archiver --handler image_classifier", [("torch-model-archiver", WORKS)]),
        ("torch-model-archiver --runtime=LSP --handler x", [("torch-model-archiver", BROKEN)]),
        ("torch-workflow-archiver --workflow-name w", [("command", BROKEN)]),
        *(
            (f"torch-model-archiver --handler {name} -f", [("torch-model-archiver", BROKEN)])
            for name in features.HANDLERS
        ),
    ],
)
def test_commands(text: str, expected: list[tuple[str, Verdict]]) -> None:
    assert [(what, verdict) for what, verdict, _ in examine_command(text)] == expected


@pytest.mark.parametrize(
    ("image", "verdict", "why"),
    [
        ("pytorch/torchserve:latest-gpu", CHANGED, "TorchServe's image: use torchkeeper's"),
        ("docker.io/pytorch/torchserve", CHANGED, "TorchServe's image: use torchkeeper's"),
        ("pytorch/torchserve-kfs:0.9.0", CHANGED, "KServe's image"),
        ("us-docker.pkg.dev/vertex-ai/prediction/pytorch-cpu.2-1:latest", CHANGED, "Vertex AI's"),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6-cpu", CHANGED, "SageMaker's"),
        ("python:3.11", WORKS, "none of TorchServe's"),
        ("example.org/torchkeeper:latest-cpu", WORKS, "none of TorchServe's"),
    ],
)
def test_images(image: str, verdict: Verdict, why: str) -> None:
    found, said = examine_image(image)
    assert found is verdict
    assert said.startswith(f"{image}: {why}")


def test_variables_that_only_some_configurations_take() -> None:
    assert {"TS_MAX_REQUEST_SIZE", "TS_SERVICE_ENVELOPE"} <= VARIABLES
    assert not {"TS_CONFIG_FILE", "PATH"} & VARIABLES
