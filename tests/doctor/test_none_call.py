"""What is sure to fail for None, with which entry points are called when a model loads; the worker judges."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.doctor.none_call import fails_with_none
from torchkeeper.testing import MockContext
from torchkeeper.worker.loader import entry_point

#: Bodies of an entry point, and whether it fails for None for certain.
BODIES = {
    "return ['ok'] * len(data)": True,
    "rows = [row['data'] for row in data]": True,
    "return [1 for row in data]": True,
    "return list(row for row in data)": True,
    "for row in data: pass": True,
    "for at in range(len(data)): pass": True,
    "first = data[0]": True,
    "import json\n    return json.dumps(data.keys())": True,
    "'Text.'\n    count = len(data)\n    data = []": True,
    "data = list(data)": True,
    "return f'{len(data)}'": True,
    "raise TypeError('not yet')": True,
    "wrong = TypeError()\n    raise wrong": True,
    "if data: raise TypeError": False,
    "return []": False,
    "return data": False,
    "return data and len(data)": False,
    "return len(data) if data else 0": False,
    "return len(data or ())": False,
    "return (lambda: len(data)) and []": False,
    "if data is None: return\n    return len(data)": False,
    "if not data: return\n    return len(data)": False,
    "try: return len(data)\n    except TypeError: return": False,
    "data = []\n    return len(data)": False,
    "yield len(data)": False,
    "return len((data := [1]))": False,
    "return str(data.__class__)": False,
    "with open('/dev/null'): return []": False,
    "return [1 for row in [] for x in data]": False,
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", [False, True], ids=["function", "method"])
def test_bodies(tmp_path: Path, body: str, method: bool) -> None:
    source = f"def handle(data, context):\n    {body}\n"
    if method:
        inner = source.replace("handle(data", "run(self, data", 1).replace("\n    ", "\n        ")
        source = f"class Thing:\n    {inner}handle = Thing().run\n"
    assert (fails_with_none(source.encode(), "handle") is not None) is BODIES[body]
    (tmp_path / "h.py").write_text(source)
    context = MockContext(model_dir=str(tmp_path))
    if BODIES[body]:
        with pytest.raises((TypeError, AttributeError)):
            entry_point("h.py", tmp_path, context, None)
    else:
        entry_point("h.py", tmp_path, context, None)


FUNCTION = "def handle(data, context):\n    return len(data)\n"
METHOD = "class T:\n    def run(self, data, context):\n        return len(data)\n"


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import handle",
        "from elsewhere import *\n" + FUNCTION,
        "@wrapped\n" + FUNCTION,
        "async " + FUNCTION,
        "if x:\n    def handle(data): pass\n" + FUNCTION,
        FUNCTION + "handle = wrapped(handle)\n",
        "def len(data): return 0\n" + FUNCTION,
        "def handle(): return len(data)\n",
        METHOD + "handle = t.run\n",
        METHOD + "handle = make(T).run.inner\n",
        METHOD + "handle = partial(T().run)\n",
        METHOD.replace("class T", "class T(metaclass=M)") + "handle = T().run\n",
        METHOD.replace("    def", "    @staticmethod\n    def") + "handle = T().run\n",
        METHOD + "handle = T().other\n",
        METHOD + METHOD + "handle = T().run\n",
    ],
)
def test_what_may_be_something_else_is_not_sure(source: str) -> None:
    assert fails_with_none(source.encode(), "handle") is None
