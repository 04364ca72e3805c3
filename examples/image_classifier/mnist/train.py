"""Trains the network of mnist.py on the 60,000 MNIST images and saves its weights as a state dict.

python train.py --data DIR      # DIR holds the four idx files, plain or .gz
python train.py                 # downloads them from the public mirrors, checked by md5
"""

import argparse
import gzip
import hashlib
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import torch
from mnist import Net
from rich.progress import track
from torch.nn import functional as F

#: Where the MNIST files are kept, first choice first, and the md5 of each .gz file.
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
MD5 = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}
MEAN, DEVIATION = 0.1307, 0.3081


def download(name: str, folder: Path) -> Path:
    """Fetches one .gz file from the first mirror that has it, and checks it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.gz"
    for mirror in MIRRORS:
        try:
            with urllib.request.urlopen(f"{mirror}{name}.gz", timeout=60) as response:
                content = response.read()
        except (urllib.error.URLError, TimeoutError) as error:
            print(f"{mirror}: {error}")
            continue
        if hashlib.md5(content).hexdigest() == MD5[name]:
            target.write_bytes(content)
            return target
        print(f"{mirror}: {name}.gz is not the file it should be (md5 differs)")
    raise SystemExit(f"{name}.gz could be had from no mirror; download it by hand and pass --data DIR")


def read_idx(name: str, folder: Path | None) -> np.ndarray:
    """One idx file as an array of uint8: (N, 28, 28) images or (N,) labels."""
    if folder is None:
        cache = Path(__file__).parent / "data"
        path = cache / f"{name}.gz"
        path = path if path.exists() else download(name, cache)
    else:
        candidates = [folder / name, folder / f"{name}.gz"]
        path = next((candidate for candidate in candidates if candidate.exists()), None)
        if path is None:
            raise SystemExit(f"{folder} has neither {name} nor {name}.gz")
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    dimensions = content[3]
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(dimensions)]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def load(part: str, folder: Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, normalised, float32 (N, 1, 28, 28), and labels, int64 (N,)."""
    images = torch.from_numpy(read_idx(f"{part}-images-idx3-ubyte", folder).copy()).unsqueeze(1)
    labels = torch.from_numpy(read_idx(f"{part}-labels-idx1-ubyte", folder).copy())
    return (images.float() / 255 - MEAN) / DEVIATION, labels.long()


def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of right answers."""
    model.eval()
    with torch.inference_mode():
        answers = torch.cat([model(batch).argmax(1) for batch in images.split(1000)])
    return (answers == labels).float().mean().item()


def main() -> None:
    """Trains, prints the accuracy after each epoch, saves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the MNIST files (default: download)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1.0)
    parser.add_argument("--gamma", type=float, default=0.7, help="the learning rate's factor per epoch")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "mnist_cnn.pt")
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    images, labels = load("train", arguments.data)
    test_images, test_labels = load("t10k", arguments.data)
    model = Net()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=arguments.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=arguments.gamma)
    for epoch in range(1, arguments.epochs + 1):
        begin = time.perf_counter()
        model.train()
        batches = torch.randperm(len(images)).split(arguments.batch_size)
        for batch in track(batches, description=f"epoch {epoch}/{arguments.epochs}"):
            optimizer.zero_grad()
            F.nll_loss(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        scheduler.step()
        share = accuracy(model, test_images, test_labels)
        print(f"epoch {epoch}: {share:.2%} of the test images right, {time.perf_counter() - begin:.0f} s")
    torch.save(model.state_dict(), arguments.output)
    print(f"saved {arguments.output}")


if __name__ == "__main__":
    main()
