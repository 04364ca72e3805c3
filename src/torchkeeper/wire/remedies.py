"""What helps against an exception of users' code, by what its text says. Pure.

The texts are torch's, numpy's, the system loader's and transformers', as their releases of 2025 and 2026 have
them.
"""

from __future__ import annotations

import re

OUT_OF_MEMORY = "Give it more memory, or run fewer workers or smaller batches (minWorkers, batchSize)."

#: How Python's, torch's and C++'s errors say that a device or the machine has no memory left.
_NO_MEMORY = re.compile(
    r"\b(MemoryError|OutOfMemoryError|bad_alloc)\b|out of memory|can(no|')t allocate memory", re.IGNORECASE
)
#: What a text says, as a regular expression -> what to do; the first one found decides.
_TABLE = {
    r"loading state_dict": (
        "Pack the model file and the weights of one and the same model: their names and shapes differ."
    ),
    r"invalid load key, 'v'|Unsupported operand 118\b": (
        "The file may be a Git LFS pointer in place of the real one: run git lfs pull, and pack it again."
    ),
    r"Unsupported operand \d|invalid load key|failed finding central dir|header too (large|small)": (
        "The file is cut off, or not what its name says: look at its first bytes, and pack it again."
    ),
    r"Weights only load failed": (
        "Save the state dict alone (torch.save(model.state_dict(), path), or .safetensors): a pickled "
        "model is code, which only a handler of your own loads, with weights_only=False."
    ),
    r"Can't get attribute .* on <module": (
        "The file is a pickled model whose class is not where it was: save its state dict, and pack the "
        "class with --model-file."
    ),
    r"not compiled with CUDA|Found no NVIDIA driver|No CUDA GPUs are available": (
        "Take a device that is there: 'cuda' only if torch.cuda.is_available(), and the one of gpu_id."
    ),
    r"no kernel image is available": (
        "The installed torch has no code for this GPU: install a build of torch that was made for it."
    ),
    r"on the same device|not on the expected device|Input type \(.*torch\.cuda": (
        "Move the inputs to the model's device: data.to(self.device)."
    ),
    r"must have the same dtype|and \w+ type \(.*\) should be the same|expected scalar type": (
        "Convert the inputs to the dtype of the weights: data.float(), or half() where they are half."
    ),
    r"stack expects each tensor to be equal size|Sizes of tensors must match": (
        "Requests of one batch have unlike shapes: resize or pad them in preprocess, or leave batchSize 1."
    ),
    r"shapes cannot be multiplied|expected input\[.*\] to have|Expected \dD .*input": (
        "The input has not the shape that the model takes: compare preprocess with how it was trained."
    ),
    r"index out of range in self": (
        "An index is beyond the embedding: cut texts to what the model takes (truncation=True), and use "
        "the tokenizer that belongs to it."
    ),
    r"is not JSON serializable": "Return numbers, texts, lists and dictionaries: tensor.tolist() is one.",
    r"compiled using NumPy 1|numpy\.core\.multiarray failed to import|numpy\.dtype size changed": (
        "A package was built for another NumPy: install a newer build of it, or numpy<2."
    ),
    r"undefined symbol": "Packages do not fit each other: install builds that were made for this torch.",
    r"lib(GL|gthread|glib)[-\w.]*: cannot open shared object": (
        "Install opencv-python-headless in place of opencv-python, or Debian's libgl1 and libglib2.0-0."
    ),
    r"cannot open shared object file": "Install the system's package that brings that library.",
    r"cannot import name": "Install the version of that package for which the code was written.",
    r"insufficient shared memory|unable to \w+ (shared memory|file </torch_)|Bus error": (
        "Give the container more shared memory (docker run --shm-size=1g), or set num_workers=0."
    ),
    r"(?i)Too many open files|ancdata": "Raise the limit of open files (ulimit -n), or close what is opened.",
    r"No space left on device": "Make room on the disk that it writes to, or set TMPDIR to another one.",
    r"Permission denied|Read-only file system": (
        "Write where the worker may, as into tempfile.gettempdir(); its sandbox may be why (docs/sandbox.md)."
    ),
    r"(?i)connect to '?https://huggingface|not a local folder and is not a valid model id": (
        "Pack the model's files into the archive (--extra-files), or let the worker reach huggingface.co."
    ),
    r"No such file or directory": (
        "Pack the file with --extra-files and look for it in the context's model_dir; a program must be "
        "installed where the server runs."
    ),
}
_REMEDIES = tuple((re.compile(said), do) for said, do in _TABLE.items())


def out_of_memory(text: str) -> bool:
    """Whether an error's text says that the memory did not suffice."""
    return _NO_MEMORY.search(text) is not None


def remedy(kind: str, text: str) -> str:
    """What helps against an exception of that type and text; nothing where that is not known."""
    if out_of_memory(f"{kind}: {text}"):
        return OUT_OF_MEMORY
    return next((do for said, do in _REMEDIES if said.search(text)), "")
