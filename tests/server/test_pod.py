"""The pod, played: the server is run with a manifest's arguments, environment, user and folders, and asked as
Kubernetes would ask it.

Played otherwise than in a cluster: the manifest's paths are moved into a folder of the test, ports are any
free ones, the entry script of docker/ runs without its image, and nobody waits for preStop.
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from contract import hold_to_document  # type: ignore[import-not-found]  # as above
from rpc_client import Client  # type: ignore[import-not-found]  # pytest's path

from conftest import BIN, Program, eventually  # type: ignore[import-not-found]  # pytest's path
from torchkeeper.manifest import Values, kserve_objects, kubernetes_objects
from torchkeeper.rpc.schema import OPEN_INFERENCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "image_classifier" / "mnist"
DIGITS = [(EXAMPLE / "test_data" / f"{digit}.png").read_bytes() for digit in range(10)]

#: TorchServe's sample for KServe: a snapshot without runtimeType and startupTimeout, a key that is none.
SAMPLE = """\
inference_address=http://0.0.0.0:8085
management_address=http://0.0.0.0:8085
metrics_address=http://0.0.0.0:8082
grpc_inference_port=7070
grpc_management_port=7071
enable_envvars_config=true
install_py_dep_per_model=true
enable_metrics_api=true
metrics_mode=prometheus
NUM_WORKERS=1
number_of_netty_threads=4
job_queue_size=10
model_store=/mnt/models/model-store
model_snapshot={"name":"startup.cfg","modelCount":1,"models":{"mnist":{"1.0":{"defaultVersion":true,\
"marName":"mnist.mar","minWorkers":1,"maxWorkers":5,"batchSize":1,"maxBatchDelay":10,"responseTimeout":120}}}}
"""


def containers() -> dict[str, tuple[dict[str, Any], int]]:
    """The server's container on each platform, as the cluster completes it, and the grace period (s)."""
    values = Values("digits", "torchkeeper:1", "pvc://models/mnist")
    deployment, *_ = kubernetes_objects(values)
    pod = deployment["spec"]["template"]["spec"]
    runtime, service = kserve_objects(values)
    predictor = service["spec"]["predictor"]
    (kserve,) = runtime["spec"]["containers"]
    given = [{"name": "INFERENCE_SERVICE_NAME", "value": "digits"}]
    kserve = {**kserve, **predictor["model"], "env": kserve["env"] + predictor["model"]["env"] + given}
    # KServe's own runtime for TorchServe 0.9.0, which knew no tokens: nothing but the image is changed.
    adopted = {
        **kserve,
        "args": [
            *("torchserve", "--start", "--model-store=/mnt/models/model-store"),
            "--ts-config=/mnt/models/config/config.properties",
        ],
        "env": [{"name": "TS_SERVICE_ENVELOPE", "value": "kservev2"}, *predictor["model"]["env"], *given],
        "volumeMounts": [],
        "securityContext": {**kserve["securityContext"], "readOnlyRootFilesystem": False},
    }
    return {
        "kserve": (kserve, predictor["terminationGracePeriodSeconds"]),
        "adopted": (adopted, predictor["terminationGracePeriodSeconds"]),
        "k8s": (pod["containers"][0], pod["terminationGracePeriodSeconds"]),
    }


def as_user(user: int) -> list[str]:
    """The command that changes to a container's user, if this one may; else as it is.

    One right is kept, to read what the test's own user owns: Python itself may lie in its home.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []
    kept = "-all,+dac_read_search"
    command = [
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"),
        *(f"--inh-caps={kept}", "--ambient-caps=+dac_read_search", f"--bounding-set={kept}"),
    ]
    return command if subprocess.run([*command, sys.executable, "-c", ""]).returncode == 0 else []


class Pod(Program):
    """A pod of one container, started."""

    def __init__(self, folder: Path, container: dict[str, Any]) -> None:
        self.container = container
        self.models = folder / "models"
        self.home = folder / "home"
        moved = {"/mnt/models": self.models, "/home/model-server": self.home, "/tmp": folder / "temp"}

        def here(text: str) -> str:
            return re.sub("|".join(moved), lambda found: str(moved[found[0]]), text)

        for place in (self.models / "config", self.models / "model-store", self.home):
            place.mkdir(parents=True)
        for mount in container["volumeMounts"]:
            if not mount.get("readOnly"):
                path = Path(here(mount["mountPath"]))
                path.mkdir()
                path.chmod(0o777)  # as the kubelet makes an emptyDir
        free = re.sub(
            r"(:80\d\d$|=707\d$)", lambda found: found[0][0] + "0", here(SAMPLE), flags=re.MULTILINE
        )
        free += "kserve_http_port=0\nkserve_grpc_port=0\n"
        (self.models / "config" / "config.properties").write_text(free)
        subprocess.run(
            [
                *(BIN / "torch-model-archiver", "--model-name", "mnist", "--version", "1.0"),
                *("--model-file", EXAMPLE / "mnist.py", "--serialized-file", EXAMPLE / "mnist_cnn.pt"),
                *("--handler", EXAMPLE / "mnist_handler.py", "--export-path", self.models / "model-store"),
            ],
            check=True,
        )
        self.sealed = [self.models, *self.models.rglob("*")]
        if container["securityContext"]["readOnlyRootFilesystem"]:
            self.sealed.append(self.home)
        else:
            (self.home / "tmp").mkdir()
            for path in (self.home, self.home / "tmp"):
                path.chmod(0o777)
        for path in self.sealed:
            path.chmod(0o555 if path.is_dir() else 0o444)
        self.before = self.state()
        script = ROOT / "docker" / "dockerd-entrypoint.sh"
        user = container["securityContext"]["runAsUser"]
        self.changed = as_user(user)
        given = {entry["name"]: here(entry["value"]) for entry in container["env"]}
        environ = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(self.home),
            "TEMP": str(self.home / "tmp"),
            "PYTHONUNBUFFERED": "1",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            **given,
        }
        command = [*self.changed, "bash", script, *(here(argument) for argument in container["args"])]
        super().__init__(command, self.home, environ)

    def state(self) -> list[tuple[Path, int]]:
        """All that may not be written to, and when it last was."""
        return [(path, path.stat().st_mtime_ns) for path in (*self.sealed, *self.models.rglob("*"))]

    def discard(self) -> None:
        """What a test that failed leaves behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    @functools.cached_property
    def port(self) -> int:
        """The port that stands for the manifest's 8080."""
        return int(self.wait_for(r"- KServe API bind to: .* \(port (\d+)\)")[1])

    @functools.cached_property
    def grpc(self) -> str:
        """The place that stands for the manifest's 8081."""
        return f"127.0.0.1:{self.wait_for(r'gRPC KServe API bind to: .* [(]port ([0-9]+)')[1]}"

    def probe(self, name: str) -> int:
        """What a probe of the manifest is answered; 0 if nobody listens."""
        asked = self.container[name]["httpGet"]
        assert asked["port"] == 8080
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{asked['path']}", timeout=60).status_code
        except httpx.TransportError:
            return 0


@pytest.fixture
def start() -> Iterator[Callable[..., Pod]]:
    """Starts pods; those that a failed test left are ended."""
    pods: list[Pod] = []

    def begin(folder: Path, container: dict[str, Any]) -> Pod:
        pods.append(Pod(folder, container))
        return pods[-1]

    yield begin
    for pod in pods:
        pod.discard()


def forms(digit: int) -> list[tuple[str, bytes, str]]:
    """The same picture in each protocol: path, body, and where the answer has the digit."""
    encoded = base64.b64encode(DIGITS[digit]).decode()
    tensor = {"name": "picture", "shape": [-1], "datatype": "BYTES", "data": [encoded]}
    return [
        ("/predictions/mnist", DIGITS[digit], r"(\d)"),
        (
            "/v1/models/mnist:predict",
            json.dumps({"instances": [{"data": encoded}]}).encode(),
            r'.*"predictions": ?\[(\d)\].*',
        ),
        ("/v2/models/mnist/infer", json.dumps({"inputs": [tensor]}).encode(), r'.*"data": ?\[(\d)\].*'),
    ]


class Asker(threading.Thread):
    """Asks over one connection until the server says that it closes; `answers` holds status and digit."""

    def __init__(self, port: int, digit: int, form: tuple[str, bytes, str]) -> None:
        super().__init__()
        self.digit = digit
        self.asked = 0
        self.answers: list[tuple[int, str]] = []
        self._port = port
        self._path, self._body, self._digit = form

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        leaving = False
        while not leaving:
            self.asked += 1
            connection.request("POST", self._path, self._body)
            response = connection.getresponse()
            text = response.read().decode()
            found = re.fullmatch(self._digit, text, re.DOTALL)
            self.answers.append((response.status, found[1] if found else text))
            leaving = response.getheader("connection") == "close"
        connection.close()


class Caller(threading.Thread):
    """Asks over one gRPC connection, raw, until the server is gone; `answers` holds the digits."""

    def __init__(self, place: str, digit: int) -> None:
        super().__init__()
        self.digit = digit
        self.answers: list[int] = []
        self.ended = ""
        self._client = Client(place)

    def run(self) -> None:
        asked: Any = {"name": "picture", "shape": [1], "datatype": "BYTES"}
        picture = len(DIGITS[self.digit]).to_bytes(4, "little") + DIGITS[self.digit]
        infer = self._client[OPEN_INFERENCE, "ModelInfer"]
        try:
            while True:
                found = infer(model_name="mnist", inputs=[asked], raw_input_contents=[picture])
                self.answers.append(int.from_bytes(found.raw_output_contents[0], "little"))
        except grpc.RpcError as error:
            self.ended = error.code().name
        self._client.channel.close()


@pytest.mark.parametrize("platform", ["kserve", "adopted", "k8s"])
def test_a_pod_starts_on_torchserves_sample_serves_and_leaves_nobody_without_an_answer(
    platform: str, tmp_path: Path, start: Callable[..., Pod]
) -> None:
    container, grace = containers()[platform]
    pod = start(tmp_path, container)
    eventually(lambda: pod.probe("startupProbe") == 200)
    eventually(lambda: pod.probe("readinessProbe") == 200)
    assert pod.probe("livenessProbe") == 200
    if pod.changed:
        wanted = pod.container["securityContext"]["runAsUser"]
        assert set(psutil.Process(pod.process.pid).uids()) == {wanted}

    # KServe's variable makes v2 the form of TorchServe's own path, too.
    adopted = platform == "adopted"
    spoken = slice(int(adopted), None)
    if adopted:
        url = f"http://127.0.0.1:{pod.port}/v2/repository/index"
        assert httpx.post(url, timeout=60).status_code == 400, "models are managed with a key"
    clients = [Asker(pod.port, digit, form) for digit in (2, 7) for form in forms(digit)[spoken]]
    caller = Caller(pod.grpc, 5)
    everybody = [*clients, caller]
    for client in everybody:
        client.start()
    eventually(lambda: all(len(client.answers) > 20 for client in everybody))
    slept = pod.container["lifecycle"]["preStop"]["exec"]["command"]
    assert shutil.which(slept[0])
    begun = time.monotonic()
    ledger = pod.end()
    assert time.monotonic() - begun < grace - int(slept[1])
    for client in clients:
        client.join()
        assert client.answers == [(200, str(client.digit))] * client.asked
    caller.join()
    assert set(caller.answers) == {caller.digit}
    # A call that comes in the moment of the stop is turned away by grpc's core, unseen by the server.
    assert caller.ended in ("UNAVAILABLE", "CANCELLED")
    assert ledger["accepted"] == ledger["answered"] + ledger["refused"]
    assert ledger["refused"] == int(adopted), "the one without a key"
    assert ledger["answered"] >= sum(client.asked for client in clients) + len(caller.answers)

    assert pod.state() == pod.before, "something was written where nothing may be"
    open_to_all = "PREDICTIONS NEED NO TOKEN" if adopted else "WITHOUT TOKENS EVERYBODY WHO REACHES"
    assert open_to_all in pod.output
    assert "unknown key NUM_WORKERS" in pod.output
    assert "No log files in" not in pod.output


def test_a_container_that_may_write_to_its_temp_folder_only_says_so_and_serves(
    tmp_path: Path, start: Callable[..., Pod]
) -> None:
    container, _ = containers()["kserve"]
    env = [entry for entry in container["env"] if entry["name"] != "LOG_LOCATION"]
    mounts = [mount for mount in container["volumeMounts"] if mount["name"] != "logs"]
    pod = start(tmp_path, {**container, "env": env, "volumeMounts": mounts})
    if not pod.changed and os.geteuid() == 0:
        pod.end()
        pytest.skip("a superuser can write everywhere, and no other user can be taken on here")
    eventually(lambda: pod.probe("readinessProbe") == 200)
    answer = httpx.put(f"http://127.0.0.1:{pod.port}/predictions/mnist", content=DIGITS[3])
    assert (answer.status_code, answer.text) == (200, "3")
    pod.end()
    assert pod.output.count("No log files in") == 1
    assert pod.output.count("No snapshots are kept in") == 1
    assert pod.state() == pod.before


def test_a_pod_does_what_its_document_says(tmp_path: Path, start: Callable[..., Pod]) -> None:
    container, _ = containers()["kserve"]
    pod = start(tmp_path, container)
    eventually(lambda: pod.probe("readinessProbe") == 200)
    hold_to_document(f"http://127.0.0.1:{pod.port}", tmp_path)
    pod.end()
    assert "by a fault of the server" not in pod.output
    assert pod.state() == pod.before
