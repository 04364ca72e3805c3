"""The main job in one go: archive the MNIST example, serve it, ask for ten digits and one explanation."""

import argparse
import io
import itertools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "image_classifier" / "mnist"
OUTPUT = ROOT / "demo-output"
BIN = Path(sys.executable).parent
#: Seconds the first answer may take: it waits for the worker.
FIRST_ANSWER = 60
#: The listeners, on three ports in a row.
APIS = ("inference", "management", "metrics")


def busy_by(port: int) -> str | None:
    """Who listens on the port, as far as this user may see; None when it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            pass
        else:
            return None
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return "a process that this user may not see"


def archive(folder: Path) -> None:
    """Packs the example into the model store."""
    store = folder / "model_store"
    store.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            BIN / "torch-model-archiver",
            *("--model-name", "mnist", "--version", "1.0", "--force", "--export-path", store),
            *("--model-file", EXAMPLE / "mnist.py", "--serialized-file", EXAMPLE / "mnist_cnn.pt"),
            *("--handler", EXAMPLE / "mnist_handler.py"),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )


def ask(url: str, body: bytes) -> bytes:
    """One request with a picture as its body."""
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=FIRST_ANSWER) as answer:
        return answer.read()


def heat_map(digit: Path, attribution: np.ndarray, target: Path) -> None:
    """Saves the attribution (1, 28, 28) as colours over the picture: red speaks for the answer."""
    grey = np.array(Image.open(digit).convert("L"), dtype=np.float32) / 255
    weight = attribution[0] / (np.abs(attribution).max() or 1)
    colours = np.stack([grey * 0.6] * 3, axis=-1)
    colours[..., 0] += np.clip(weight, 0, 1)
    colours[..., 2] += np.clip(-weight, 0, 1)
    picture = Image.fromarray((np.clip(colours, 0, 1) * 255).astype(np.uint8))
    picture.resize((280, 280), Image.Resampling.NEAREST).save(target)


def predict_and_explain(base: str, console: Console) -> bool:
    """The ten digits as a table, and one explanation as a picture; whether all answers were right."""
    table = Table("picture", "answer", "milliseconds")
    right = True
    ask(f"{base}/predictions/mnist", (EXAMPLE / "test_data" / "0.png").read_bytes())
    for digit in range(10):
        picture = EXAMPLE / "test_data" / f"{digit}.png"
        begin = time.perf_counter()
        answer = ask(f"{base}/predictions/mnist", picture.read_bytes()).decode()
        table.add_row(picture.name, answer, f"{(time.perf_counter() - begin) * 1000:.1f}")
        right = right and answer == str(digit)
    console.print(table)
    digit = EXAMPLE / "test_data" / "0.png"
    attribution = json.load(io.BytesIO(ask(f"{base}/explanations/mnist", digit.read_bytes())))
    heat_map(digit, np.array(attribution, dtype=np.float32), OUTPUT / "explanation.png")
    console.print(f"What speaks for the 0: {(OUTPUT / 'explanation.png').relative_to(ROOT)}")
    return right


def main() -> int:
    """Runs the demo; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    arguments = parser.parse_args()
    console = Console()
    ports = dict(zip(APIS, itertools.count(arguments.port), strict=False))
    for port in ports.values():
        holder = busy_by(port)
        if holder is not None:
            console.print(f"port {port} is busy: {holder} listens there; choose others with PORT=")
            return 1
    OUTPUT.mkdir(exist_ok=True)
    folder = OUTPUT if arguments.keep else Path(tempfile.mkdtemp(prefix="torchkeeper-demo-"))
    archive(folder)
    (folder / "config.properties").write_text(
        "".join(f"{api}_address=http://127.0.0.1:{port}\n" for api, port in ports.items())
    )
    base = f"http://127.0.0.1:{arguments.port}"
    log = (OUTPUT / "server.log").open("wb")
    server = subprocess.Popen(
        [
            BIN / "torchserve",
            *("--foreground", "--ncs", "--disable-token-auth", "--ts-config", "config.properties"),
            *("--model-store", "model_store", "--models", "mnist=mnist.mar"),
        ],
        cwd=folder,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_until_up(base, server)
        right = predict_and_explain(base, console)
    except (urllib.error.URLError, RuntimeError) as error:
        console.print(f"failed: {error}; the server's words: {(OUTPUT / 'server.log').relative_to(ROOT)}")
        server.terminate()
        server.wait()
        return 1
    if arguments.keep:
        console.print(f"The server runs (pid {server.pid}). Try:")
        picture = (EXAMPLE / "test_data" / "3.png").relative_to(ROOT)
        console.print(f"  curl {base}/predictions/mnist -T {picture}", highlight=False, soft_wrap=True)
        console.print(f"  curl {base}/explanations/mnist -T {picture}", highlight=False, soft_wrap=True)
        console.print(f"  curl http://127.0.0.1:{ports['management']}/models/mnist", highlight=False)
        console.print(f"  kill {server.pid}   # stops it", highlight=False)
        return 0 if right else 1
    server.terminate()
    server.wait()
    shutil.rmtree(folder)
    return 0 if right else 1


def wait_until_up(base: str, server: subprocess.Popen) -> None:
    """Returns when the server answers; raises RuntimeError if it dies instead."""
    deadline = time.monotonic() + FIRST_ANSWER
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with exit code {server.returncode}")
        try:
            urllib.request.urlopen(f"{base}/ping", timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server did not come up")


if __name__ == "__main__":
    sys.exit(main())
