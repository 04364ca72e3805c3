"""The requests that a model is tuned with."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.tune.samples import WARMUP, TuneSample, digest_of, read_samples, warmup_files


def test_files_and_folders_are_read_and_their_types_found_or_taken(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name, content in (("a.json", b"1"), ("b", b"2"), ("more/2.png", b"3"), ("more/1.txt", b"4")):
        (tmp_path / name).write_bytes(content)
    texts = [str(tmp_path / "a.json"), f"{tmp_path / 'b'}:application/x-tensor", str(tmp_path / "more")]
    assert read_samples(texts) == (
        TuneSample("a.json", b"1", "application/json"),
        TuneSample("b", b"2", "application/x-tensor"),
        TuneSample("1.txt", b"4", "text/plain"),
        TuneSample("2.png", b"3", "image/png"),
    )


def test_a_name_with_a_colon_is_a_name_where_there_is_such_a_file(tmp_path: Path) -> None:
    (tmp_path / "a:b").write_bytes(b"1")
    (sample,) = read_samples([str(tmp_path / "a:b")])
    assert sample == TuneSample("a:b", b"1", None)


@pytest.mark.parametrize("texts", [[], ["gone.png"], ["gone.png:image/png"], ["empty"]])
def test_what_is_no_sample_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TuneRefused, match="--sample"):
        read_samples(texts)


def test_the_digest_is_of_contents_and_types() -> None:
    one = TuneSample("a", b"12", "text/plain")
    others = [[TuneSample("a", b"12", None)], [TuneSample("a", b"1", "text/plain")], [one, one], []]
    digests = [digest_of([one]), *map(digest_of, others)]
    assert len(set(digests)) == len(digests)
    assert digest_of([TuneSample("b", b"12", "text/plain")]) == digests[0]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (TuneSample("3.png", b"", "image/png"), "3.png"),
        (TuneSample("body", b"", None), "body"),
        (TuneSample("body", b"", "application/json"), "body.json"),
        (TuneSample("body", b"", "application/x-of-nobody"), None),
    ],
)
def test_a_warm_up_file_has_a_name_that_says_its_type(sample: TuneSample, expected: str | None) -> None:
    assert sample.warmup_name == expected


def test_few_samples_warm_up_and_each_has_a_name_of_its_own() -> None:
    same = [TuneSample("a.txt", str(n).encode(), "text/plain") for n in range(WARMUP + 5)]
    found = warmup_files(same)
    assert list(found.values()) == [str(n).encode() for n in range(WARMUP)]
    assert all(name.endswith("a.txt") for name in found)
    assert warmup_files([TuneSample("b", b"", "application/x-of-nobody")]) == {}
