"""What is said of a model's file by its suffix, when it is loaded and by `torchkeeper doctor`.

Pure, and without torch. Who reads which file: `handler.weights`.
"""

from __future__ import annotations

#: Suffix -> why a file of it is code, and not data.
CODE: dict[str, str] = {
    ".pt2": "an AOTInductor package is machine code, and an exported program may hold operators of its own",
    ".so": "it is machine code",
    ".onnx": "it may hold operators of its own",
}
#: Suffixes of files that say what their models take.
TELLING = (".pt2", ".onnx")
#: Suffixes of TensorRT's engines.
ENGINES = (".engine", ".plan", ".trt")

#: The suffix of state dicts that are tensors and nothing else.
SAFE = ".safetensors"
PICKLED_WEIGHTS = (
    "a .safetensors file (safetensors.torch.save_file(model.state_dict(), path)) holds tensors and nothing "
    "else, and is read faster"
)
TORCHSCRIPT_ENDS = (
    "TorchScript, which PyTorch has deprecated: it is served, but export the model anew "
    "(torchkeeper export, or torch.export.save)"
)
LIBRARY_ENDS = (
    "a library of torch._export.aot_compile, which PyTorch has deprecated: it is served, but compile the "
    "model anew with torch._inductor.aoti_compile_and_package to a .pt2 file, which says what it takes"
)
TENSORS_REFUSAL = (
    "the handler 'tensors' serves models whose file says what they take: an exported program or an "
    "AOTInductor package (.pt2), or .onnx"
)


def code_remark(name: str, suffix: str) -> str:
    """What to know of a file that is code."""
    return f"{name} is code ({CODE[suffix]}): only workers load it, with the rights of the server's user"


def pickle_remark(name: str) -> str:
    """What to know of a file that holds a whole module, pickled."""
    return f"{name} is code (a pickle runs what is in it): only workers load it, and only from whom you trust"


def engine_refusal(name: str) -> str:
    """Why a TensorRT engine is not loaded, and what to do instead."""
    return (
        f"{name} is a TensorRT engine, which runs only on the kind of GPU and under the version of TensorRT "
        "that it was built with, and does not say which: save the model with torch_tensorrt as an exported "
        "program (.pt2), or serve the .onnx file that the engine was built from"
    )
