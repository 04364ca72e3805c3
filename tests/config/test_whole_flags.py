"""Abbreviations of TorchServe's flags beside flags of our own."""

from __future__ import annotations

import pytest

from torchkeeper.archive.flags import export_model_args_parser
from torchkeeper.cli import torchserve_parser
from torchkeeper.config.whole_flags import TorchServeParser


def parser() -> TorchServeParser:
    made = TorchServeParser(more=("--from-there", "--fast"))
    for flag in ("--force", "--from-there", "--file", "--fast"):
        made.add_argument(flag)
    made.add_argument("rest", nargs="*")
    return made


@pytest.mark.parametrize(
    ("words", "flag", "value"),
    [
        (["--fo", "1"], "force", "1"),
        (["--fi=1"], "file", "1"),
        (["--from", "1"], "from_there", "1"),
        (["--fro=--force"], "from_there", "--force"),
        (["--fa", "1"], "fast", "1"),
        (["--from-there", "1"], "from_there", "1"),
    ],
)
def test_each_abbreviation_means_what_it_meant_without_the_flags_of_our_own(
    words: list[str], flag: str, value: str
) -> None:
    assert getattr(parser().parse_args(words), flag) == value


def test_what_was_ambiguous_stays_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--f", "1"])
    assert (
        "ambiguous option: --f could match --force, --from-there, --file, --fast" in capsys.readouterr().err
    )


def test_words_that_are_no_flags_are_left_alone() -> None:
    assert parser().parse_args(["--", "f", "fo"]).rest == ["f", "fo"]


def test_abbreviations_of_the_commands() -> None:
    archiver = ["--model-name", "m", "--v", "1", "--h", "base_handler", "--f"]
    with pytest.raises(SystemExit):
        export_model_args_parser().parse_args(archiver)  # --h is --handler's and --help's there, too
    archiver[4] = "--ha"
    assert export_model_args_parser().parse_args(archiver).force
    served = torchserve_parser().parse_args(["--l", "log.xml"])
    assert str(served.log_config) == "log.xml"
    assert served.log_level is None
