"""Every shape that an entry point of a handler has where TorchServe finds it, for all who look for it."""

from __future__ import annotations

#: Answers "ok" once it has been initialised.
CLASS = """
class Thing:
    where = None

    def initialize(self, context):
        self.where = context.system_properties["model_dir"]

    def handle(self, data, context):
        return data and ["ok" if self.where else "not initialised"] * len(data)
"""
FUNCTION = "def {}(data, context):\n    return data and ['ok'] * len(data)\n"
#: What the archive holds, and the handler text that leads to it.
SHAPES: dict[str, tuple[dict[str, str], str]] = {
    "a function": ({"h.py": FUNCTION.format("handle")}, "h.py"),
    "a function by its name": ({"h.py": FUNCTION.format("go")}, "h:go"),
    "no name after the colon": ({"h.py": FUNCTION.format("handle")}, "h:"),
    "a function beside classes": ({"h.py": CLASS + "class B:\n    pass\n" + FUNCTION.format("handle")}, "h"),
    "an imported function": (
        {"h.py": "from impl import handle\n", "impl.py": FUNCTION.format("handle")},
        "h.py",
    ),
    "a lambda": ({"h.py": "handle = lambda data, context: data and ['ok'] * len(data)\n"}, "h.py"),
    "a partial": (
        {
            "h.py": "import functools\ndef work(text, data, context):\n    return data and [text]\n"
            "handle = functools.partial(work, 'ok')\n"
        },
        "h.py",
    ),
    "a bound method": (
        {"h.py": CLASS + "_service = Thing()\n_service.where = '/'\nhandle = _service.handle\n"},
        "h.py",
    ),
    "a bound method by its name": (
        {"h.py": CLASS + "_service = Thing()\n_service.where = '/'\nentry = _service.handle\n"},
        "h:entry",
    ),
    "an object that can be called": (
        {
            "h.py": "class Call:\n    def __call__(self, data, context):\n        return data and ['ok']\n"
            "handle = Call()\n"
        },
        "h.py",
    ),
    "what a module's __getattr__ gives": (
        {
            "h.py": "def __getattr__(name):\n    if name == 'handle':\n"
            "        return lambda data, context: data and ['ok']\n    raise AttributeError(name)\n"
        },
        "h.py",
    ),
    "a class": ({"h.py": CLASS}, "h.py"),
    "a class by the name of its method": ({"h.py": CLASS}, "h.py:handle"),
    "a class by its own name": ({"h.py": CLASS + CLASS.replace("Thing", "Other")}, "h.py:Other"),
    "a class, whatever the function is called": ({"h.py": CLASS}, "h:nothing_such"),
    "a class beside handle, which is none": ({"h.py": CLASS + "handle = None\n"}, "h"),
    "the only class with a method handle": ({"h.py": CLASS + "class Config:\n    pass\n"}, "h"),
    "a class that extends an imported one": (
        {"h.py": "from base import Thing\nclass Mine(Thing):\n    pass\n", "base.py": CLASS},
        "h",
    ),
    "static methods": (
        {
            "h.py": "class S:\n    @staticmethod\n    def initialize(context):\n        pass\n"
            "    @staticmethod\n    def handle(data, context):\n        return ['ok'] * len(data)\n"
        },
        "h.py",
    ),
    "a path, of which the last part counts": ({"h.py": CLASS}, "some/where/h.py"),
    "a package": (
        {"h/__init__.py": "from .inner import Thing\nclass Mine(Thing):\n    pass\n", "h/inner.py": CLASS},
        "h",
    ),
    "a module in a package": (
        {
            "pack/__init__.py": "",
            "pack/sub/__init__.py": "",
            "pack/sub/h.py": "from ..names import handle\n",
            "pack/names.py": FUNCTION.format("handle"),
        },
        "pack.sub.h",
    ),
    "a function in a package": ({"pack/__init__.py": "", "pack/h.py": FUNCTION.format("go")}, "pack.h:go"),
    "an archive's own file before a built-in handler": ({"image_classifier.py": CLASS}, "image_classifier"),
    "an archive's own package before a built-in handler": (
        {"image_classifier/__init__.py": CLASS},
        "image_classifier",
    ),
    "a path that leads to the file": ({"some/where/h.py": CLASS}, "some/where/h.py"),
    "a path with a function": ({"some/where/h.py": FUNCTION.format("go")}, "some/where/h.py:go"),
    "a path's folder before the archive's": (
        {"h.py": "raise RuntimeError('not this one')\n", "sub/h.py": "from near import handle\n"}
        | {"near.py": "raise RuntimeError('nor this')\n", "sub/near.py": FUNCTION.format("handle")},
        "sub/h.py:handle",
    ),
    "an absolute path": (
        {"outside/h.py": "from near import Thing\nclass Mine(Thing):\n    pass\n"}
        | {"outside/near.py": CLASS},
        "{}/outside/h.py:handle",
    ),
    "a decorated function": (
        {
            "h.py": "import functools\n@functools.lru_cache(maxsize=None)\ndef _no(): pass\n"
            "class Count:\n    def __init__(self, f):\n        functools.update_wrapper(self, f)\n"
            "        self.f = f\n    def __call__(self, *a):\n        return self.f(*a)\n@Count\n"
            + FUNCTION.format("handle")
        },
        "h.py",
    ),
    "everything of another module": (
        {"h.py": "from impl import *\n", "impl.py": FUNCTION.format("handle")},
        "h.py",
    ),
    "a module under that name": (
        {
            "h.py": "import impl as handle\n",
            "impl.py": "import sys\nclass _M(type(sys)):\n    def __call__(self, data, context):\n"
            "        return data and ['ok']\nsys.modules[__name__].__class__ = _M\n",
        },
        "h.py",
    ),
    "an annotated name": (
        {"h.py": "from typing import Any\nhandle: Any = lambda data, context: data and ['ok']\n"},
        "h.py",
    ),
    "one of several names": (
        {"h.py": "_, handle = 1, lambda data, context: data and ['ok']\n"},
        "h.py",
    ),
}
