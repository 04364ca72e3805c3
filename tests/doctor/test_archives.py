"""What becomes of archives; their code is never run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from handler_shapes import SHAPES
from signers import KeyPair
from torchkeeper.archive.archive import MANIFEST
from torchkeeper.archive.archiver import ModelArchiverConfig, archive_model
from torchkeeper.config.table import Configured
from torchkeeper.doctor.archives import examine_archive
from torchkeeper.doctor.configuration import examine_properties
from torchkeeper.doctor.finding import Finding, Verdict
from torchkeeper.handler.builtin import BUILTIN, SOURCE_VOCAB
from torchkeeper.wire import features

WORKS, OTHER, IGNORED, BROKEN = Verdict.WORKS, Verdict.CHANGED, Verdict.IGNORED, Verdict.BROKEN

FUNCTION = "def handle(data, context):\n    return data\n"
BASED = "from ts.torch_handler.base_handler import BaseHandler\nclass H(BaseHandler):\n    pass\n"
OWN = "import torch\nclass H:\n    def initialize(self, c): pass\n    def handle(self, d, c): pass\n"
NET = "import torch\nclass Net(torch.nn.Linear):\n    def __init__(self):\n        super().__init__(2, 3)\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Weights in several forms, by a name."""
    folder = tmp_path_factory.mktemp("weights")
    net = torch.nn.Linear(2, 3)
    torch.save(net.state_dict(), folder / "state")
    torch.save(net, folder / "whole")
    torch.jit.script(net).save(folder / "script")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def examine(folder: Path, model: dict[str, str], files: dict[str, str | bytes], text: str = "", **raw: str):  # type: ignore[no-untyped-def]  # read below
    store = folder / "m"
    (store / "MAR-INF").mkdir(parents=True)
    manifest = {"runtime": "python", **raw, "model": {"modelName": "m", "modelVersion": "1.0", **model}}
    (store / MANIFEST).write_text(json.dumps(manifest))
    for name, content in files.items():
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    _, setup = examine_properties(text, "f", {})
    return examine_archive(store, setup, folder / "scratch")


def told(findings: list[Finding]) -> list[tuple[str, Verdict]]:
    return [(finding.what, finding.verdict) for finding in findings if finding.verdict is not WORKS]


@pytest.mark.parametrize(
    ("source", "handler", "why"),
    [
        (FUNCTION, "h.py", None),
        (FUNCTION, "h", None),
        (FUNCTION, "h:handle", None),
        ("def other(data, context): pass", "h.py:other", None),
        (FUNCTION, "h.py:other", "neither a function other nor a class"),
        (BASED, "h.py:handle", None),
        ("import functools\nhandle = functools.partial(print)\n", "h.py", None),
        ("class A:\n    def handle(self): pass\n" + OWN.replace("H", "B"), "h.py:B", None),
        (BASED, "h.py", None),
        (f"{OWN}class Helper:\n    pass", "h.py", None),
        ("class H:\n    def handle(self): pass", "h.py", "class H has no method initialize"),
        ("class H:\n    def handle(self): pass\nH.initialize = print", "h.py", None),
        ("@print\nclass H:\n    def handle(self): pass", "h.py", None),
        ("class H(metaclass=M):\n    def handle(self): pass", "h.py", None),
        ("class H:\n    def handle(self): pass\n    __getattr__ = print", "h.py", None),
        (
            "class A:\n    def handle(self): pass\nclass B:\n    def handle(self): pass",
            "h.py",
            "A, B; keep one",
        ),
        (
            FUNCTION.replace("return data", "return len(data)"),
            "h.py",
            "called with None when the model is loaded",
        ),
        ("x = 1", "h.py", "neither a function handle nor a class"),
        ("async " + FUNCTION + "#" * 300_000, "h.py", "async def handle asks for asynchronous handlers"),
        ("def handle(data, context:", "h.py", "h.py: line 1: "),
        ("print 'python 2'", "h.py", "h.py: line 1: "),
        (FUNCTION + "import no_such_package.x", "h.py", "imports no_such_package (line 3), which is neither"),
        (FUNCTION + "import wanted_package", "h.py", "requirements.txt names it"),
        (
            FUNCTION + "from ts.arg_parser import X",
            "h.py",
            "(line 3): torchkeeper does not have ts.arg_parser: ",
        ),
        (
            FUNCTION + "from ts.launcher import Tee",
            "h.py",
            "does not have ts.launcher.Tee: ",
        ),
        (FUNCTION + "from ts.context import Y", "h.py", "(line 3): neither TorchServe nor torchkeeper has"),
        (FUNCTION + "from .gone import Y", "h.py", "imports .gone relatively"),
        (FUNCTION + "import sibling", "h.py", "imports another_missing_package (line 1)"),
        (FUNCTION + "try:\n    import no_such_package\nexcept ImportError:\n    pass", "h.py", None),
        (FUNCTION + "def f():\n    import no_such_package", "h.py", None),
        (FUNCTION + "def f():\n    from ts.arg_parser import X", "h.py", None),
        (FUNCTION + "def f():\n    import broken", "h.py", None),
        (FUNCTION + "import broken", "h.py", "line 1: "),
        (FUNCTION + "if x:\n    import no_such_package", "h.py", None),
        (FUNCTION + "import sys\nsys.path.append('src')\nimport no_such_package", "h.py", None),
        (FUNCTION + "try:\n    import json\nexcept ImportError:\n    import no_such_package", "h.py", None),
        (
            FUNCTION + "try:\n    import no_such_package\nexcept ImportError:\n    import nor_this_one",
            "h.py",
            "imports nor_this_one (line 6), which is neither",
        ),
        (
            FUNCTION + "def f():\n    import no_such_package\nimport no_such_package",
            "h.py",
            "imports no_such_package (line 5), which is neither",
        ),
        (OWN.removesuffix("pass\n") + "import no_such_package\n", "h.py", None),
        (OWN.replace("pass", "import no_such_package", 1), "h.py", "imports no_such_package (line 3)"),
        (OWN.replace("pass", "import no_such_package", 1) + FUNCTION, "h.py", None),
        (
            OWN.replace("pass", "zipfile.ZipFile('m.zip').extractall('.'); import no_such_package", 1),
            "h.py",
            None,
        ),
        (FUNCTION, "missing.py", "missing.py is not in the archive"),
        (FUNCTION, "", "its manifest names no handler"),
    ],
)
def test_handlers(tmp_path: Path, source: str, handler: str, why: str | None) -> None:
    files: dict[str, str | bytes] = {
        "h.py": source,
        "sibling.py": "import another_missing_package",
        "requirements.txt": "# a comment\nwanted-package==1.0\n",
        "unused.py": "import never_installed",
        "broken.py": "def x(:",
    }
    model = {"handler": handler, "requirementsFile": "requirements.txt"}
    broken = [one for one in examine(tmp_path, model, files) if one.verdict is BROKEN]
    assert [why in one.why for one in broken] == ([] if why is None else [True]), broken


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_handler_that_a_worker_finds(tmp_path: Path, shape: str) -> None:
    files, handler = SHAPES[shape]
    model = {"handler": handler.format(tmp_path / "m")}
    assert told(examine(tmp_path, model, {**files})) == []


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_without_a_manifest(tmp_path: Path, named: bool) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "h.py").write_text(FUNCTION)
    _, setup = examine_properties("default_service_handler=h.py:handle" if named else "", "f", {})
    (finding,) = examine_archive(tmp_path / "m", setup, tmp_path / "scratch")
    assert finding.verdict is (WORKS if named else BROKEN)
    assert finding.why.startswith("m version 1.0" if named else "no MAR-INF/MANIFEST.json inside; ")


def test_a_handler_of_another_machine_is_named(tmp_path: Path) -> None:
    (finding,) = examine(tmp_path, {"handler": "/nowhere/service.py:handle"}, {})
    assert finding.why.startswith("/nowhere/service.py is not on this machine, and service.py is not in the")


def test_what_cannot_be_known_is_said_with_the_reason(tmp_path: Path) -> None:
    source = (
        "import sys\n"
        + FUNCTION
        + "sys.path.append('src')\nimport from_src\ndef f():\n    import late, broken\n"
    )
    files: dict[str, str | bytes] = {"h.py": source, "broken.py": "def x(:", "net.py": "import of_net"}
    findings = examine(tmp_path, {"handler": "h.py", "modelFile": "net.py"}, files)
    assert findings[0].what == "archive"
    found = {(one.what, one.why) for one in findings if one.verdict is Verdict.UNKNOWN}
    neither = "which is neither in the archive nor installed"
    assert found == {
        ("h.py", f"imports from_src (line 5), {neither}; h.py may bring it (sys.path in line 4)"),
        ("h.py", f"imports late (line 7), {neither}; it is imported only when f() runs"),
        ("broken.py", "line 1: invalid syntax; it is imported only when f() runs"),
        ("net.py", f"imports of_net (line 1), {neither}; it is read only if the handler does"),
    }
    assert len(findings) == 1 + len(found)


def test_code_that_nests_too_deeply_may_run(tmp_path: Path) -> None:
    deep = "k = 0\nif k:\n    pass\n" + "elif k:\n    pass\n" * sys.getrecursionlimit()
    model = {"handler": "h.py"}
    why = "its code nests too deeply for the doctor; Python itself may run it"
    (_, finding) = examine(tmp_path / "own", model, {"h.py": FUNCTION + deep})
    assert (finding.what, finding.verdict, finding.why) == ("handler", Verdict.UNKNOWN, f"h.py: {why}")
    files: dict[str, str | bytes] = {"h.py": FUNCTION + "import helper, from_helper", "helper.py": deep}
    (_, finding, lacking) = examine(tmp_path / "helper", model, files)
    assert (finding.what, finding.verdict, finding.why) == ("helper.py", Verdict.UNKNOWN, why)
    assert lacking.verdict is Verdict.UNKNOWN
    assert lacking.why.endswith(f"helper.py may bring it ({why})")


def test_packages_that_are_installed_with_the_model(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "h.py": FUNCTION + "import cv2_of_this_test\nfrom ts.context import Y\n",
        "requirements.txt": "opencv",
    }
    model = {"handler": "h.py", "requirementsFile": "requirements.txt"}
    findings = examine(tmp_path, model, files, "install_py_dep_per_model=true")
    assert [(one.verdict, one.why.partition(" (")[0]) for one in findings] == [
        (WORKS, "imports cv2_of_this_test"),
        (BROKEN, "imports ts.context.Y"),
    ]


@pytest.mark.parametrize("name", [*BUILTIN, *features.HANDLERS])
def test_built_in_handlers(tmp_path: Path, name: str) -> None:
    files: dict[str, str | bytes] = {"net.py": NET, SOURCE_VOCAB: b"", "MLmodel": "flavors: {pytorch: {}}"}
    model = {"serializedFile": "net.pt2"} if name == "tensors" else {"modelFile": "net.py"}
    findings = examine(tmp_path, {"handler": name, **model}, {**files, "net.pt2": b""})
    assert told(findings) == ([] if name in BUILTIN else [("handler", BROKEN)])
    missing = features.missing_handler(name)
    assert missing is None or missing.sentence in [finding.why for finding in findings]


@pytest.mark.parametrize(
    ("handler", "wrong"), [("image_classifier", True), ("sagemaker", False), ("h", False)]
)
def test_a_built_in_handler_without_a_model(tmp_path: Path, handler: str, wrong: bool) -> None:
    findings = examine(tmp_path, {"handler": handler}, {"h.py": FUNCTION})
    assert told(findings) == ([("handler", BROKEN)] if wrong else [])


@pytest.mark.parametrize(
    ("module", "handler", "expected"),
    [
        (None, "text_classifier", [("handler", BROKEN)]),
        (None, "h", []),
        ("torchtext.vocab.vocab", "text_classifier", []),
        ("torchtext.vocab.vocab", "h", []),
        ("another_of_this_test", "text_classifier", [(SOURCE_VOCAB, OTHER)]),
    ],
)
def test_vocabularies(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str | None,
    handler: str,
    expected: list[tuple[str, Verdict]],
) -> None:
    files: dict[str, str | bytes] = {"net.py": NET, "h.py": BASED}
    if module:
        vocabulary = type("Vocab", (), {"__module__": module})
        for name in (module.partition(".")[0], module):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setattr(sys.modules[module], "Vocab", vocabulary, raising=False)
        torch.save(vocabulary(), tmp_path / "saved")
        files[SOURCE_VOCAB] = (tmp_path / "saved").read_bytes()
    assert told(examine(tmp_path, {"handler": handler, "modelFile": "net.py"}, files)) == expected


def test_a_file_of_the_archives_own_is_no_built_in_handler(tmp_path: Path) -> None:
    findings = examine(tmp_path, {"handler": "dali_handler"}, {"dali_handler.py": FUNCTION})
    assert told(findings) == []


def test_the_code_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    files = {"h.py": code + FUNCTION, "net.py": code, "helper.py": code}
    assert not told(examine(tmp_path, {"handler": "h.py", "modelFile": "net.py"}, files))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("model", "runtime", "text", "expected"),
    [
        ({"handler": "h.py", "serializedFile": "gone.pt"}, "python", "", [("serialized file", BROKEN)]),
        ({"handler": "h.py", "modelFile": "gone.py"}, "python3", "", [("model file", BROKEN)]),
        ({"handler": "h.py", "configFile": "gone.yaml"}, "python", "", [("config file", IGNORED)]),
        ({"handler": "h.py"}, "LSP", "", [("runtime", BROKEN)]),
        ({"handler": "h.py"}, "perl", "", [("runtime", IGNORED)]),
        ({"handler": "h.py", "envelope": "json"}, "python", "", [("envelope", IGNORED)]),
        ({}, "python", "default_service_handler=h.py", []),
        ({"modelName": "../m", "handler": "h.py"}, "python", "", [("archive", BROKEN)]),
    ],
)
def test_manifests(
    tmp_path: Path, model: dict[str, str], runtime: str, text: str, expected: list[tuple[str, Verdict]]
) -> None:
    findings = examine(tmp_path, model, {"h.py": FUNCTION}, text, runtime=runtime)
    assert told(findings) == expected
    assert (findings[0].what == "archive" and findings[0].verdict is WORKS) == (
        BROKEN not in [verdict for _, verdict in expected]
    )


@pytest.mark.parametrize(
    ("handler", "model_file", "suffix", "kind", "expected"),
    [
        (BASED, True, ".pt", "state", None),
        (BASED, True, ".pth", "whole", BROKEN),
        (BASED, True, ".pt", "script", BROKEN),
        (BASED, False, ".pt", "script", None),
        (BASED, False, ".pt", "state", BROKEN),
        (BASED, False, ".pt", "whole", BROKEN),
        (BASED, False, ".engine", "state", BROKEN),
        (BASED, True, ".pt2", "state", BROKEN),
        (FUNCTION, False, ".engine", "state", None),
        (OWN, False, ".pt", "state", None),
        (OWN, True, ".pt", "whole", OTHER),
        (FUNCTION, True, ".pt", "whole", OTHER),
        (FUNCTION, False, ".onnx", "state", None),
    ],
)
def test_weights(
    tmp_path: Path,
    weights: dict[str, bytes],
    handler: str,
    model_file: bool,
    suffix: str,
    kind: str,
    expected: Verdict | None,
) -> None:
    model = {"handler": "h.py", "serializedFile": f"w{suffix}"}
    if model_file:
        model["modelFile"] = "net.py"
    findings = examine(tmp_path, model, {"h.py": handler, "net.py": NET, f"w{suffix}": weights[kind]})
    assert told(findings) == ([] if expected is None else [("serialized file", expected)])


@pytest.mark.parametrize(
    ("suffix", "kind", "text"),
    [
        (".pt", "script", "is TorchScript, which PyTorch has deprecated"),
        (".pt2", "state", "w.pt2 is code (an AOTInductor package is machine code"),
        (".so", "state", "w.so is code (it is machine code): only workers load it"),
        (".so", "state", "w.so is a library of torch._export.aot_compile, which PyTorch has deprecated"),
        (".onnx", "state", "w.onnx is code (it may hold operators of its own)"),
    ],
)
def test_what_runs_and_what_to_know_of_it(
    tmp_path: Path, weights: dict[str, bytes], suffix: str, kind: str, text: str
) -> None:
    files: dict[str, str | bytes] = {"h.py": BASED, f"w{suffix}": weights[kind]}
    findings = examine(tmp_path, {"handler": "h.py", "serializedFile": f"w{suffix}"}, files)
    found = [finding for finding in findings if finding.what == "serialized file"]
    assert ({one.verdict for one in found}, any(text in one.why for one in found)) == ({WORKS}, True), found


@pytest.mark.parametrize(
    ("suffix", "kind", "model_file", "what"),
    [
        (".pt2", "state", False, None),
        (".onnx", "state", False, None),
        (".pt", "script", False, "handler"),
        (".so", "state", False, "handler"),
        (".pt", "state", True, "handler"),
        (".safetensors", "state", True, "handler"),
        (".engine", "state", False, "serialized file"),
    ],
)
def test_tensors_serves_what_says_what_it_takes(
    tmp_path: Path, weights: dict[str, bytes], suffix: str, kind: str, model_file: bool, what: str | None
) -> None:
    model = {"handler": "tensors", "serializedFile": f"w{suffix}"} | (
        {"modelFile": "net.py"} if model_file else {}
    )
    findings = examine(tmp_path, model, {"net.py": NET, f"w{suffix}": weights[kind]})
    assert told(findings) == ([] if what is None else [(what, BROKEN)])


def test_onnx_without_its_runtime_would_not_run(
    tmp_path: Path, weights: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    files: dict[str, str | bytes] = {"h.py": BASED, "w.onnx": weights["state"]}
    findings = examine(tmp_path, {"handler": "h.py", "serializedFile": "w.onnx"}, files)
    assert ("serialized file", BROKEN) in told(findings)


def test_further_pickles_are_named(tmp_path: Path, weights: dict[str, bytes]) -> None:
    files: dict[str, str | bytes] = {"h.py": FUNCTION, "deep/b.bin": weights["whole"], "c.bin": b"anything"}
    findings = examine(tmp_path, {"handler": "h.py"}, files)
    assert told(findings) == [("deep/b.bin", OTHER)]
    assert "torch.nn.modules.linear.Linear" in findings[-1].why


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 4\nhandler: {a: 1}\npt2: inductor\n",
            [],
        ),
        ("batchSize: many\n", [("config file", IGNORED)]),
        ("a: [\n", [("config file", IGNORED)]),
        ("minWorkers: 3\nmaxWorkers: 2\n", [("config file", IGNORED)]),
        ("batchsize: 4\n", [("model-config.yaml batchsize", IGNORED)]),
        ("my_own: {threshold: 1}\n", []),
        *((f"{key}: true\n", [(f"model-config.yaml {key}", BROKEN)]) for key in features.KEYS),
        ("sequenceBatching: false\n", []),
        ("execution: {threads: 2}\n", []),
        ("execution: {thread: 2}\n", [("config file", BROKEN)]),
        ("batchCost: bytes\nmaxBatchCost: 9\nbatchBy: shape\n", []),
        ("batchCost: bytes\n", [("config file", BROKEN)]),
        ("execution: {compile: {mode: max-autotune, dynamic: false}}\n", []),
        ("execution: {compile: x}\n", [("config file", BROKEN)]),
        ("parallelType: tp\n", [("model-config.yaml parallelType", BROKEN)]),
        ("parallelType: ''\n", []),
        *((f"{key}: 2\n", [(f"model-config.yaml {key}", IGNORED)]) for key in features.BELONGING),
        ("sequencebatching: true\n", [("model-config.yaml sequencebatching", IGNORED)]),
    ],
)
def test_model_configs(tmp_path: Path, text: str, expected: list[tuple[str, Verdict]]) -> None:
    findings = examine(
        tmp_path, {"handler": "h.py", "configFile": "c.yaml"}, {"h.py": FUNCTION, "c.yaml": text}
    )
    assert told(findings) == expected


def test_costs_that_cannot_be_known_of_the_requests_of_an_envelope(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "h.py": FUNCTION,
        "c.yaml": "batchCost: elements\nmaxBatchCost: 9\n",
    }
    manifest = {"handler": "h.py", "configFile": "c.yaml"}
    (found,) = examine(tmp_path / "json", manifest, files, "service_envelope=json\n")
    assert (found.verdict, "come as json" in found.why) == (BROKEN, True)
    assert not told(examine(tmp_path / "v2", manifest, files, "service_envelope=kservev2\n"))


def test_timeouts_that_torchserve_would_reset(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"h.py": FUNCTION, "c.yaml": "startupTimeout: 5\n"}
    text = "default_response_timeout=30\ndefault_startup_timeout=30\n"
    findings = examine(tmp_path, {"handler": "h.py", "configFile": "c.yaml"}, files, text)
    assert told(findings) == [("model-config.yaml responseTimeout", OTHER)]
    assert findings[-1].why == "not named: default_response_timeout=30 holds (TorchServe: 120)"


@pytest.mark.parametrize("archive_format", ["default", "tgz", "no-archive"])
def test_packed_archives(tmp_path: Path, archive_format: str) -> None:
    (tmp_path / "h.py").write_text(FUNCTION)
    config = ModelArchiverConfig(
        "m", str(tmp_path / "h.py"), "2.0", export_path=str(tmp_path), archive_format=archive_format
    )
    path = archive_model(config)
    _, setup = examine_properties("", "f", {})
    assert examine_archive(path, setup, tmp_path / "scratch") == [
        Finding(path.name, "archive", WORKS, "m version 2.0")
    ]


@pytest.mark.parametrize(
    ("name", "content", "verdict", "why"),
    [
        ("m.mar", b"no zip", BROKEN, "neither a zip file"),
        ("m.mar", b"", BROKEN, "neither a zip file"),
        ("m.war", b"", IGNORED, "workflows"),
    ],
)
def test_what_is_no_archive(tmp_path: Path, name: str, content: bytes, verdict: Verdict, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    _, setup = examine_properties("", "f", {})
    (found,) = examine_archive(tmp_path / name, setup, tmp_path / "scratch")
    assert found.verdict is verdict
    assert why in found.why


# --- signatures -----------------------------------------------------------------------------------------


def test_signatures_are_judged_where_the_settings_ask_for_it(tmp_path: Path) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(b"no archive, but signed")
    ours, theirs = KeyPair(tmp_path, "ours"), KeyPair(tmp_path, "theirs")

    def found(policy: str, key: Path) -> list[tuple[str, Verdict]]:
        setup = Configured(verify_models=policy, verify_public_keys=(key,))
        return told(examine_archive(path, setup, tmp_path / "scratch"))

    broken = ("archive", Verdict.BROKEN)
    assert found("off", ours.public) == [broken]
    assert found("require", ours.public) == [("signature", Verdict.BROKEN)]
    assert found("require", tmp_path / "absent") == [("signature", Verdict.BROKEN)]
    ours.sign(path)
    assert found("require", theirs.public) == [("signature", Verdict.BROKEN)]
    assert found("warn", theirs.public) == [("signature", Verdict.IGNORED), broken]
    assert found("require", ours.public) == [broken]


def test_safetensors_are_preferred_to_pickles(tmp_path: Path, weights: dict[str, bytes]) -> None:
    def said(suffix: str) -> list[str]:
        model = {"handler": "image_classifier", "modelFile": "net.py", "serializedFile": f"w{suffix}"}
        files = {"net.py": NET, f"w{suffix}": weights["state"]}
        found = examine(tmp_path / suffix, model, files)
        assert told(found) == []
        return [finding.why for finding in found if finding.what == "serialized file"]

    (why,) = said(".pt")
    assert why.startswith("w.pt is a pickle, of weights alone: a .safetensors file")
    assert said(".safetensors") == []


def test_code_that_lies_in_an_archive_is_said_to_be_code(tmp_path: Path) -> None:
    found = examine(tmp_path, {"handler": "h.py"}, {"h.py": FUNCTION, "more/net.pt2": b"x", "ops.so": b"x"})
    assert told(found) == []
    assert [(one.what, one.why.split(" (")[0]) for one in found if one.what != "archive"] == [
        ("more/net.pt2", "net.pt2 is code"),
        ("ops.so", "ops.so is code"),
    ]
