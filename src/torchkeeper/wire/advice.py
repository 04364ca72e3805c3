"""What to do about what went wrong, in a sentence that workers, the front and the doctor share. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

#: Packages by the modules that they bring, where the names differ by more than a dash.
_PACKAGES = {
    "Crypto": "pycryptodome",
    "Levenshtein": "python-Levenshtein",
    "OpenSSL": "pyOpenSSL",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "PyMuPDF",
    "git": "GitPython",
    "grpc": "grpcio",
    "jwt": "PyJWT",
    "magic": "python-magic",
    "pkg_resources": "setuptools",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
#: Others that bring the same module.
_ALSO = {"cv2": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")}


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the known one that was probably meant, if there is one."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def package_of(module: str) -> str:
    """The package that brings a module, as it is called where packages are got."""
    top = module.partition(".")[0]
    return _PACKAGES.get(top, top.replace("_", "-"))


def package_in(line: str) -> str:
    """The package that a line of requirements names, spelled as indexes spell it; "" for an option."""
    name = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
    return _plain(name[1]) if name else ""


def required(text: str) -> set[str]:
    """The packages that a requirements file names."""
    return set(filter(None, map(package_in, text.splitlines())))


def bring(module: str, requirements: str | None, listed: Collection[str]) -> str:
    """How a module comes here that is not; `requirements` is the archive's file, ignored, that lists some."""
    package = package_of(module)
    wanted = {_plain(one) for one in (package, module.partition(".")[0], *_ALSO.get(module, ()))}
    if requirements and wanted & set(listed):
        return f"{requirements} names it: set install_py_dep_per_model, or install it"
    where = f", or list it in {requirements} and set install_py_dep_per_model" if requirements else ""
    return f"pip install {package} where the server runs{where}"


def blamed(cause: str, place: str, do: str) -> str:
    """A cause with its place in the model's own code, and what to do about it, as far as they are known."""
    where = f" ({place})" if place else ""
    return f"{cause}{where}. {do}" if do else f"{cause}{where}"


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
