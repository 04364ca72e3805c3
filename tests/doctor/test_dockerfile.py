"""What becomes of Dockerfiles, and of the files that they put into the image."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from torchkeeper.doctor.dockerfile import examine_dockerfile, instructions
from torchkeeper.doctor.finding import Finding, Verdict

WORKS, CHANGED, IGNORED, BROKEN = Verdict.WORKS, Verdict.CHANGED, Verdict.IGNORED, Verdict.BROKEN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# a comment\n\nFROM a", [(3, "FROM", "a")]),
        ("from a as b", [(1, "FROM", "a as b")]),
        ("RUN a && \\\n    b \\\n  # why\n  && c\nUSER d", [(1, "RUN", "a && b && c"), (5, "USER", "d")]),
        ("RUN a \\\n\n  b\nUSER c", [(1, "RUN", "a b"), (4, "USER", "c")]),
        ("RUN a \\", [(1, "RUN", "a")]),
        ("RUN <<EOF\npip x\nls\nEOF\nUSER a", [(1, "RUN", "<<EOF\npip x\nls"), (5, "USER", "a")]),
        ("RUN a <<< b; echo $((1<<2))\nUSER c", [(1, "RUN", "a <<< b; echo $((1<<2))"), (2, "USER", "c")]),
        ("RUN <<'E'\nnever ended", [(1, "RUN", "<<'E'\nnever ended")]),
    ],
)
def test_instructions(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert list(instructions(text)) == expected


def examined(folder: Path, text: str) -> list[Finding]:
    (folder / "Dockerfile").write_text(text)
    return examine_dockerfile(folder / "Dockerfile", folder / "scratch")


def told(findings: list[Finding]) -> list[tuple[str, str, Verdict]]:
    return [(one.place, one.what, one.verdict) for one in findings]


def test_an_image_made_from_torchserves(tmp_path: Path) -> None:
    text = """
FROM --platform=linux/amd64 pytorch/torchserve:0.7.0-gpu AS base
ENV JAVA_HOME=/usr/lib/jvm HOME=/home/model-server
RUN apt-get install -y openjdk-17-jdk && pip install torchserve
RUN printf "\\nservice_envelope=json" >> /home/model-server/config.properties && \\
    echo "inference_addres=http://0.0.0.0:7080" >> config.properties
FROM base
CMD ["torchserve", "--start", "--models", "${model_name}=${model_name}.mar"]
"""
    assert told(examined(tmp_path, text)) == [
        ("Dockerfile:2", "FROM", CHANGED),
        ("Dockerfile:4", "Java", IGNORED),
        ("Dockerfile:4", "packages", CHANGED),
        ("Dockerfile:5", "service_envelope", WORKS),
        ("Dockerfile:5", "inference_addres", IGNORED),
        ("Dockerfile:8", "torchserve", WORKS),
        ("Dockerfile", "ENV JAVA_HOME", IGNORED),
    ]


def test_what_is_copied_is_looked_at_where_it_is_beside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelName": "m", "handler": "gone.py"}}')
    (tmp_path / "store").mkdir()
    (tmp_path / "m.mar").rename(tmp_path / "store" / "m.mar")
    (tmp_path / "store" / "readme.txt").write_text("")
    (tmp_path / "my.properties").write_text("number_of_netty_threads=2\n")
    (tmp_path / "plugin.jar").write_text("")
    text = """FROM pytorch/torchserve
COPY --chown=model-server store /home/model-server/model-store
COPY ["*.properties", "plugin.jar", "/home/model-server/"]
COPY ./store/*.mar /models/
COPY gone.mar ../outside.mar /models/
COPY --from=build /app/my.properties /x
ADD service.py /home/venv/lib/python3.9/site-packages/ts/service.py
"""
    assert told(examined(tmp_path, text))[1:] == [
        ("m.mar", "handler", BROKEN),
        ("my.properties:1", "number_of_netty_threads", IGNORED),
        ("Dockerfile:3", "plugin.jar", IGNORED),
        ("m.mar", "handler", BROKEN),
        ("Dockerfile:7", "files", IGNORED),
    ]


@pytest.mark.parametrize(
    ("configuration", "verdict"),
    [("", IGNORED), ("RUN echo enable_envvars_config=true > a.properties", WORKS)],
)
def test_settings_in_the_environment(tmp_path: Path, configuration: str, verdict: Verdict) -> None:
    text = f"FROM a\n{configuration}\nENV TS_SERVICE_ENVELOPE json\n"
    (found,) = [one for one in examined(tmp_path, text) if "ENVELOPE" in str(one) or "envelope" in one.what]
    assert found.verdict is verdict


def test_words_that_are_none(tmp_path: Path) -> None:
    assert told(examined(tmp_path, "FROM\nENV 'a\nCOPY\nRUN\nCMD [1\nCMD 3\n")) == []
