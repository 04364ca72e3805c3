"""torchvision's one import of torch's compiler: left for later, and there for whoever asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROI_ALIGN = """
from torch._dynamo.utils import is_compile_supported
{more}
def asks(device):
    return is_compile_supported(device)
"""
COMPILER = """
print("the compiler is imported")
other = 7
def is_compile_supported(device):
    return f"{device}: yes"
"""
#: As torch's own does it.
TORCH = """
import importlib
def __getattr__(name):
    if name == "_dynamo":
        return importlib.import_module("torch._dynamo")
    raise AttributeError(name)
"""


@pytest.fixture
def said(tmp_path: Path) -> object:
    """What is said where a torch and a torchvision of the test's own are imported."""

    def run(script: str, more: str = "") -> list[str]:
        files = {
            "torch/__init__.py": TORCH,
            "torch/_dynamo/__init__.py": "from . import utils as kept\n",
            "torch/_dynamo/utils.py": COMPILER,
            "torchvision/__init__.py": "from . import ops\n",
            "torchvision/ops/__init__.py": "from . import roi_align\n",
            "torchvision/ops/roi_align.py": ROI_ALIGN.format(more=more),
        }
        for name, source in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(source)
        whole = (
            f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
            f"from torchkeeper.worker import late_compiler\nlate_compiler.install()\n{script}"
        )
        done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_the_compiler_is_imported_when_the_question_is_asked(said: object) -> None:
    script = (
        "import torchvision\nprint([name for name in sys.modules if name.startswith('torch._dynamo')])\n"
        "print(type(torchvision.ops.roi_align.__loader__).__name__)\n"
        "print(torchvision.ops.roi_align.asks('cpu'), sys.modules['torch._dynamo.utils'].other)\n"
    )
    assert said(script) == [  # type: ignore[operator]
        "[]",
        "SourceFileLoader",
        "the compiler is imported",
        "cpu: yes 7",
    ]


@pytest.mark.parametrize(
    "more",
    [
        "import torch._dynamo\n",
        "from torch._dynamo.utils import other\n",
        "import torch._dynamo.utils as whole\nwhole.other\n",
    ],
)
def test_whoever_asks_for_more_of_it_meanwhile_gets_it(said: object, more: str) -> None:
    script = (
        "import torchvision\nimport torch._dynamo.utils\nreal = sys.modules['torch._dynamo.utils']\n"
        "print(torch._dynamo.utils is real is torch._dynamo.kept, type(real).__name__, real.other)\n"
        "print(torchvision.ops.roi_align.asks('cpu'))"
    )
    assert said(script, more) == ["the compiler is imported", "True module 7", "cpu: yes"]  # type: ignore[operator]


def test_a_compiler_that_is_there_is_used(said: object) -> None:
    script = (
        "import torch._dynamo.utils\nimport torchvision\n"
        "print(torchvision.ops.roi_align.is_compile_supported is torch._dynamo.utils.is_compile_supported)"
    )
    assert said(script) == ["the compiler is imported", "True"]  # type: ignore[operator]


def test_a_torchvision_that_does_not_import_stays_as_it_is(said: object) -> None:
    script = (
        "try:\n    import torchvision\nexcept RuntimeError as error:\n    print(error)\n"
        "print('torch._dynamo.utils' in sys.modules)"
    )
    assert said(script, "raise RuntimeError('broken')\n") == ["broken", "False"]  # type: ignore[operator]
