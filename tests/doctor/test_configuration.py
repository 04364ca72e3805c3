"""What becomes of each key, and of the files beside config.properties."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from torchkeeper.config.setting_key import Effect
from torchkeeper.config.table import BY_NAME, KEYS
from torchkeeper.doctor.configuration import (
    CHANGED,
    examine_exposure,
    examine_log4j,
    examine_metrics,
    examine_properties,
    examine_store,
)
from torchkeeper.doctor.finding import Finding, Verdict

PIN = "0f" * 32
WORKS, OTHER, IGNORED, BROKEN = Verdict.WORKS, Verdict.CHANGED, Verdict.IGNORED, Verdict.BROKEN


def verdicts(findings: list[Finding]) -> list[tuple[str, Verdict]]:
    return [(finding.what, finding.verdict) for finding in findings]


def later(key: str) -> Verdict:
    """What a key's table row says: this must stay right when the feature comes."""
    return WORKS if BY_NAME[key].effect is Effect.WORKS else IGNORED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("enable_model_api=yes", [("enable_model_api", OTHER)]),
        (
            "strict_config=true\nenable_model_api=yes\njob_que=1\ndebug=false",
            [("strict_config", WORKS), ("enable_model_api", BROKEN), ("job_que", BROKEN), ("debug", IGNORED)],
        ),
        ("job_queue_size=0", [("job_queue_size", OTHER)]),
        ('models={"m": {"1.0": {"batchSize": 0}}}', [("models", OTHER)]),
        ('models={"m": {"1.0": {"batchSize": "x"}}}', [("models", BROKEN)]),
        ("service_envelope=body", [("service_envelope", WORKS)]),
        ("inference_key=a-key-of-some-length", [("inference_key", BROKEN)]),
        ("job_queue_size=10", [("job_queue_size", OTHER)]),
        ("job_queue_size=ten", [("job_queue_size", BROKEN)]),
        ("job_queue_size=", [("job_queue_size", BROKEN)]),
        ("number_of_gpu=", [("number_of_gpu", WORKS)]),
        ("inference_address=nowhere", [("inference_address", BROKEN)]),
        ("number_of_netty_threads=32", [("number_of_netty_threads", IGNORED)]),
        ("vmargs=-Xmx1g", [("vmargs", IGNORED)]),
        ("version=0.12.0", [("version", IGNORED)]),
        ("cpp_log_config=x", [("cpp_log_config", later("cpp_log_config"))]),
        ("NUM_WORKERS=1", [("NUM_WORKERS", IGNORED)]),
        ("cors_allowed_origin=$$ORIGIN$$", [("cors_allowed_origin", WORKS)]),
        ("cors_allowed_origin=$$UNSET$$", [("cors_allowed_origin", BROKEN)]),
        ("service_envelope=nothing_such", [("service_envelope", BROKEN)]),
        ("model_snapshot={", [("model_snapshot", BROKEN)]),
        (
            "blacklist_env_vars=(\ndecode_input_request=false",
            [("blacklist_env_vars", BROKEN), ("decode_input_request", WORKS)],
        ),
        (
            "enable_envvars_config=true\njob_queue_size=1",
            [("enable_envvars_config", WORKS), ("job_queue_size", OTHER), ("job_queue_size", BROKEN)],
        ),
    ],
)
def test_keys(text: str, expected: list[tuple[str, Verdict]]) -> None:
    findings, _ = examine_properties(text, "f", {"ORIGIN": "*", "TS_JOB_QUEUE_SIZE": "many"})
    assert verdicts(findings) == expected


def test_places_and_reasons() -> None:
    text = "\njob_que_size=1\nnumber_of_netty_threads=1\nvmargs=x\ndefault_response_timeout=0\n"
    findings, setup = examine_properties(text, "config.properties", {})
    told = {finding.what: finding for finding in findings}
    assert told["job_que_size"].place == "config.properties:2"
    assert told["job_que_size"].why == "TorchServe has no such key; did you mean job_queue_size?"
    assert told["number_of_netty_threads"].why == "not needed: there is one event loop"
    assert told["default_response_timeout"].why == "0 must be greater than 0; 120 is used"
    assert setup.default_response_timeout == 120


def test_every_key_has_a_verdict_that_agrees_with_the_table() -> None:
    for key in KEYS:
        findings, _ = examine_properties(f"{key.name}={key.default}", "f", {})
        found = next(one for one in findings if one.what == key.name)
        if key.barred:
            assert found.verdict is BROKEN
        elif key.effect is not Effect.WORKS:
            assert found.verdict is IGNORED
        else:
            assert found.verdict is (OTHER if key.name in CHANGED else WORKS), key.name


@pytest.mark.parametrize("spelling", ["true", "TRUE"])
def test_the_environments_allowed_urls_are_those_of_the_server(spelling: str) -> None:
    environ = {"TS_ALLOWED_URLS": "https://e/.*", "TS_USE_ENV_ALLOWED_URLS": spelling}
    _, setup = examine_properties("enable_envvars_config=true\n", "f", environ)
    assert [pattern.pattern for pattern in setup.allowed_urls] == ["https://e/.*"]
    findings, setup = examine_properties(
        "enable_envvars_config=true\n", "f", {"TS_ALLOWED_URLS": "https://e/.*"}
    )
    assert findings[-1].why == "TS_ALLOWED_URLS has no effect: use_env_allowed_urls is not true"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load_models=a.mar,x=b.mar", [("load_models: a.mar", WORKS), ("load_models: x=b.mar", BROKEN)]),
        ("load_models=all", []),
        ("load_models=/elsewhere/a.mar", [("load_models: /elsewhere/a.mar", WORKS)]),
        (f"load_models=a.mar#sha256={PIN}", [(f"load_models: a.mar#sha256={PIN}", WORKS)]),
        ("load_models=a.mar#sha256=00", [("load_models: a.mar#sha256=00", BROKEN)]),
        ("load_models=https://h/a..b\nallowed_urls=.*", [("load_models: https://h/a..b", BROKEN)]),
        (
            "load_models=HTTPS://h/m.mar\nallowed_urls=.*",
            [("load_models: HTTPS://h/m.mar", WORKS)],
        ),
        ("load_models=https://h/m.mar\nallowed_urls=HTTPS://h/.*", [("load_models: https://h/m.mar", WORKS)]),
        (
            "load_models=https://i/m.mar\nallowed_urls=https://h/.*",
            [("load_models: https://i/m.mar", BROKEN)],
        ),
        ("load_models=s3://b/m.mar\nallowed_urls=s3://.*", [("load_models: s3://b/m.mar", WORKS)]),
        ("load_models=s3://b/m.mar", [("load_models: s3://b/m.mar", BROKEN)]),
        ("load_models=../a.mar", [("load_models: ../a.mar", BROKEN)]),
        (
            'model_snapshot={"models":{"m":{"1":{"marName":"a.mar"},"2":{"marName":"b.mar"}}}}\nload_models=c',
            [("model m version 1", WORKS), ("model m version 2", BROKEN)],
        ),
    ],
)
def test_the_models_that_are_named(tmp_path: Path, text: str, expected: list[tuple[str, Verdict]]) -> None:
    (tmp_path / "a.mar").touch()
    _, setup = examine_properties(text, "f", {})
    assert verdicts(examine_store(setup, tmp_path, "f")) == expected


def test_a_store_in_a_bucket_is_not_looked_at(tmp_path: Path) -> None:
    _, setup = examine_properties("model_store=gs://bucket/folder\nload_models=m=a.mar", "f", {})
    (found,) = examine_store(setup, tmp_path / (setup.model_store or ""), "f")
    assert found.verdict is WORKS
    assert "not looked at here" in found.why


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    _, setup = examine_properties("", "f", {})
    (none,) = examine_store(setup, None, "f")
    (gone,) = examine_store(setup, tmp_path / "gone", "f")
    assert none.verdict is gone.verdict is BROKEN
    assert none.why == "Missing mandatory parameter --model-store"
    assert gone.why == f"--model-store directory not found: {tmp_path / 'gone'}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ts_metrics:\n  counter:\n    - {name: A, unit: Count, dimensions: [Host]}\n",
            [("ts_metrics", later("metrics_config"))],
        ),
        ("model_metrics:\n  gauge:\n    - {name: A}\n", [("model_metrics", BROKEN)]),
        ("model_metrics:\n  gauge:\n    - {name: A, unit: ms}\n", [("model_metrics", WORKS)]),
        ("model_metrics:\n  summary: []\n", [("model_metrics", BROKEN)]),
        ("dimensions: []\n", []),
        ("- 1", [("metrics", BROKEN)]),
        ("a: [", [("metrics", BROKEN)]),
    ],
)
def test_metrics(text: str, expected: list[tuple[str, Verdict]]) -> None:
    found = verdicts(examine_metrics(text, "metrics.yaml"))
    assert [what for what, _ in found] == [what for what, _ in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert one is other or {one, other} == {WORKS, IGNORED}


def test_log4j() -> None:
    text = (
        '<Configuration><Appenders><RollingFile name="a" fileName="${env:LOG_LOCATION}/a.log"/></Appenders>'
        '<Loggers><Logger name="org.pytorch.serve" level="debug"/><Root level="warn"/></Loggers>'
        "</Configuration>"
    )
    levels, files = examine_log4j(text, "log4j2.xml")
    assert levels.verdict is OTHER
    assert levels.why.startswith("org.pytorch.serve=debug, root=warn: ")
    assert files.why.startswith("${env:LOG_LOCATION}/a.log: ")
    (broken,) = examine_log4j("<a>", "log4j2.xml")
    assert broken.verdict is IGNORED


def test_an_open_server_without_tokens_is_told_of() -> None:
    text = "inference_address=http://0.0.0.0:8080\n"
    setup = examine_properties(text, "config.properties", {})[1]
    assert examine_exposure(setup, "config.properties") == []
    setup = examine_properties(f"{text}disable_token_authorization=true\n", "config.properties", {})[1]
    (finding,) = examine_exposure(setup, "config.properties")
    assert (finding.what, finding.verdict) == ("insecure", Verdict.CHANGED)
    assert "others reach inference_address 0.0.0.0:8080: outside of containers" in finding.why
    assert examine_exposure(replace(setup, insecure=True), "config.properties") == []
