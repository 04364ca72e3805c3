"""The operations behind the management APIs: sentences, errors, and changes that end whoever leaves."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.stand_in import archive, registered, request, turns
from serving.office import Office, scene
from torchkeeper.errors import (
    BadRequest,
    CleaningTimedOut,
    Conflict,
    InvalidModelVersion,
    ModelNotAt,
    ModelNotFound,
    ModelVersionNotFound,
    PredictionFailed,
    QueueFull,
    ServiceUnavailable,
    StartFailed,
    TorchkeeperError,
    WorkerDied,
)
from torchkeeper.models.registry import Wish
from torchkeeper.serving.operations import PROCESSING, Change, Operations, json_text
from torchkeeper.serving.parameters import Page, Register, Scale
from torchkeeper.wire.messages import Input, Kind, Reply

# --- looking --------------------------------------------------------------------------------------------


@scene
async def test_pages_of_models_by_name(office: Office) -> None:
    for name in ("c", "a", "b"):
        await registered(office.house, name, workers=0)

    def page(**wanted: int) -> tuple[str, str | None]:
        found = office.operations.page(Page(**wanted))
        assert list(found)[-1] == "models"
        return "".join(row["modelName"] for row in found["models"]), found.get("nextPageToken")

    assert page() == ("abc", None)
    assert page(limit=2) == ("ab", "2")
    assert page(limit=2, next_page_token=2) == ("c", None)
    assert page(limit=3) == ("abc", None)
    assert page(limit=0) == ("", None)
    assert page(limit=-1) == page(limit=101) == ("abc", None)
    assert page(next_page_token=9) == ("", None)
    (row,) = office.operations.page(Page(limit=1))["models"]
    assert row == {"modelName": "a", "modelUrl": "a-1.0.mar"}


@scene
async def test_a_page_names_the_default_versions_url(office: Office) -> None:
    for version in ("1.0", "2.0"):
        await registered(office.house, "m", version, workers=0)
    await office.operations.set_default("m", "2.0")
    assert office.operations.page(Page())["models"] == [{"modelName": "m", "modelUrl": "m-2.0.mar"}]


@given(st.integers(0, 12), st.integers(1, 12))
def test_pages_are_all_models_once(count: int, limit: int) -> None:
    class Names:
        """In the place of the registry."""

        about = type("About", (), {"url": "u"})

        def names(self) -> list[str]:
            return [f"m{number:02}" for number in range(count)]

        def find(self, name: str) -> Any:
            return self

    nothing: Any = None
    models: Any = Names()
    operations = Operations(nothing, models, nothing, nothing)
    found, token = list[str](), "0"
    while token:
        page = operations.page(Page(limit, int(token)))
        found += [row["modelName"] for row in page["models"]]
        token = page.get("nextPageToken", "")
    assert found == Names().names()


@scene
async def test_a_version_the_default_one_or_all(office: Office) -> None:
    for version in ("1.0", "2.0"):
        await registered(office.house, "m", version, workers=0)

    async def versions(wanted: str | None) -> list[str]:
        return [found.modelVersion for found in await office.describe("m", wanted)]

    assert await versions(None) == ["1.0"]
    assert await versions("2.0") == ["2.0"]
    assert await versions("all") == ["1.0", "2.0"]
    for version, name, error in (
        (None, "none", ModelNotFound),
        ("all", "none", ModelNotFound),
        ("3.0", "m", ModelVersionNotFound),
    ):
        with pytest.raises(error):
            await office.describe(name, version)
    (plain, *_), (told, *_) = await office.describe(), await office.describe(origins=True)
    assert "settingOrigins" not in json.loads(json_text(plain))
    assert "settingOrigins" in json.loads(json_text(told))
    assert office.ask.whole_ones == []


@pytest.mark.parametrize(
    ("body", "metadata"),
    [
        (b'{"speaks": "digits"}', {"speaks": "digits"}),
        (b"{}", {}),
        (b'["digits"]', {}),
        (b"digits", {}),
        (b"", {}),
        (b"\xff", {}),
        (b'{"a": "\\ud800"}', {}),
        (b'{"a": %s}' % (b"[" * 100_000), {}),
        (b'{"a": %s}' % (b"9" * 5000), {}),
        (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
    ],
)
def test_what_a_handler_says_of_itself(tmp_path: Path, body: bytes, metadata: dict[str, Any]) -> None:
    async def run() -> None:
        office = Office(tmp_path)
        office.ask.answer = Reply(body)
        await registered(office.house, "m", "2.0", workers=0)
        (found,) = await office.describe("m", "2.0", customized=True)
        assert found.customizedMetadata == metadata
        assert json.loads(json_text([found]))[0]["customizedMetadata"] == metadata
        assert office.ask.whole_ones == [("m", "2.0", Input("id-1", Kind.DESCRIBE, (), {}))]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "status", "message", "cause"),
    [
        (ServiceUnavailable("nobody", cause="scaled to 0"), 503, 'Model "m" has no worker', "scaled to 0"),
        (QueueFull("full", cause="100 wait"), 503, 'Model "m" has no worker', "100 wait"),
        (WorkerDied("exit code 7"), 500, "Failed to get customized model matadata.", "exit code 7"),
        (PredictionFailed("no", cause="why"), 503, "no", "why"),
    ],
)
def test_a_handler_that_could_not_be_asked(
    tmp_path: Path, error: TorchkeeperError, status: int, message: str, cause: str
) -> None:
    async def run() -> None:
        office = Office(tmp_path)
        office.ask.answer = error
        await registered(office.house, workers=0)
        with pytest.raises(TorchkeeperError) as raised:
            await office.describe(customized=True)
        assert (raised.value.status, raised.value.cause) == (status, cause)
        assert raised.value.message.startswith(message)

    asyncio.run(run())


@scene
async def test_readiness_is_one_worker_that_serves(office: Office) -> None:
    found = await registered(office.house, workers=2)
    assert office.operations.ready("m") == ("m", True)
    office.house.launcher.load_error = ""
    first, second = office.house.launcher.living
    first.end(1)
    assert office.operations.ready("m") == ("m", True)
    second.end(1)
    assert found.loaded_workers() == 0
    assert office.operations.ready("m") == ("m", False)
    with pytest.raises(ModelNotFound):
        office.operations.ready("none")


# --- registering ----------------------------------------------------------------------------------------


@scene
async def test_the_sentences_of_registering(office: Office) -> None:
    office.archive("m")
    register = office.operations.register
    with pytest.raises(BadRequest, match="url is required"):
        await register(Register())
    assert office.changes == []
    assert await register(Register(url="m-1.0.mar", initial_workers=2)) == Change(
        'Model "m" Version: 1.0 registered with 2 initial workers'
    )
    assert office.models.find("m").loaded_workers() == 2
    assert await register(Register(url="m-1.0.mar", model_name="n", initial_workers=0)) == Change(
        'Model "n" Version: 1.0 registered with 0 initial workers. '
        "Use scale workers API to add workers for the model."
    )
    office.house.launcher.load_error = ""
    later = await register(Register(url="m-1.0.mar", model_name="o", initial_workers=1, synchronous=False))
    assert later == Change(PROCESSING, complete=False)
    assert office.models.find("o").loaded_workers() == 0
    assert [len(served) for served in office.changes] == [1, 2, 3]


@scene
async def test_a_registration_names_settings_handler_and_model(office: Office) -> None:
    office.archive("m")
    wanted = Register(
        url="m-1.0.mar", model_name="n", handler="other:handle", batch_size=3, initial_workers=1
    )
    await office.operations.register(wanted)
    found = office.models.find("n")
    assert found.about.config.batch_size == 3
    assert found.pool.workers[0].spec.handler == "other:handle"
    await office.operations.register(Register(url="m-1.0.mar", model_name="", handler="", initial_workers=1))
    assert office.models.find("m").pool.workers[0].spec.handler == "h"


@pytest.mark.parametrize("signed", [False, True])
def test_addresses_of_s3_are_asked_with_signatures_where_that_is_wanted(signed: bool) -> None:
    wishes = list[Wish]()

    class Registry:
        """Refuses every registration."""

        async def register(self, wish: Wish) -> None:
            wishes.append(wish)
            raise ModelNotAt("not here")

    nothing: Any = None
    models: Any = Registry()
    operations = Operations(nothing, models, nothing, nothing)
    with pytest.raises(ModelNotAt):
        asyncio.run(operations.register(Register(url="https://b.s3.amazonaws.com/m.mar", s3_sse_kms=signed)))
    assert [wish.signed for wish in wishes] == [signed]


@scene
async def test_registrations_that_fail_leave_what_was_served(office: Office) -> None:
    office.archive("m")
    await registered(office.house)
    for url, error in (("m-1.0.mar", Conflict), ("absent.mar", ModelNotAt)):
        with pytest.raises(error):
            await office.operations.register(Register(url=url, initial_workers=1))
    assert office.changes == []
    office.house.launcher.load_error = "no such module"
    with pytest.raises(StartFailed) as raised:
        await office.operations.register(Register(url="m-1.0.mar", model_name="n", initial_workers=1))
    assert "no such module" in str(raised.value.cause)
    assert office.changes == [[("m", "1.0")]]


@scene
async def test_who_registers_and_leaves_has_it_registered(office: Office) -> None:
    office.archive("m")
    asked = asyncio.create_task(office.operations.register(Register(url="m-1.0.mar", initial_workers=1)))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await turns(lambda: bool(office.changes))
    assert office.models.find("m").loaded_workers() == 1


def test_a_change_that_fails_when_nobody_waits_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        office = Office(tmp_path)
        asked = asyncio.create_task(office.operations.register(Register(url="absent.mar")))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await turns(lambda: bool(caplog.records))

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert "a change of the models failed: Model not found at: absent.mar" in caplog.text


@scene
async def test_the_end_leaves_no_change_under_way(office: Office) -> None:
    office.archive("m")
    office.house.launcher.load_error = ""
    asked = asyncio.create_task(office.operations.register(Register(url="m-1.0.mar", initial_workers=1)))
    await turns(lambda: bool(office.models.names()))
    await office.operations.stop()
    with pytest.raises(asyncio.CancelledError):
        await asked


# --- loading and unloading ------------------------------------------------------------------------------


@scene
async def test_loading_waits_for_the_workers_whoever_registered(office: Office) -> None:
    archive(office.house.store, "m").rename(office.house.store / "m.mar")
    office.house.launcher.load_error = ""
    first = asyncio.create_task(office.operations.load("m"))
    await turns(lambda: any(process.spec for process in office.house.launcher.processes))
    second = asyncio.create_task(office.operations.load("m"))
    await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()
    office.house.launcher.processes[0].end(1)
    for load in (first, second):
        with pytest.raises(StartFailed):
            await load
    assert office.models.names() == ()
    with pytest.raises(ModelNotFound):
        await office.operations.load("absent")


@scene
async def test_one_of_those_who_load_a_model_at_once_registers_it(office: Office) -> None:
    archive(office.house.store, "m").rename(office.house.store / "m.mar")
    await asyncio.gather(*(office.operations.load("m") for _ in range(3)))
    assert [found.loaded_workers() for found in office.models] == [1]
    assert office.changes == [[("m", "1.0")]]
    assert len(office.house.launcher.living) == 1


@scene
async def test_loading_says_why_what_is_here_does_not_serve(office: Office) -> None:
    found = await registered(office.house)
    office.house.launcher.load_error = "no such module"
    await found.scale(2, 2)
    with pytest.raises(StartFailed, match="Failed to start workers for model m"):
        await office.operations.load("m")
    assert list(office.models) == [found]


@scene
async def test_unloading_takes_all_versions_the_default_last(office: Office) -> None:
    for version in ("1.0", "2.0", "3.0"):
        await registered(office.house, "m", version)
    await office.operations.set_default("m", "2.0")
    office.changes.clear()
    ends = []
    for found in office.models:
        close = found.close

        async def noted(deadline: float, found: Any = found, close: Any = close) -> None:
            ends.append(found.version)
            await close(deadline)

        found.close = noted  # type: ignore[method-assign]  # still does all it did
    await office.operations.unload("m")
    assert ends == ["1.0", "3.0", "2.0"]
    assert office.changes == [[]]
    assert office.house.launcher.living == []
    with pytest.raises(ModelNotFound):
        await office.operations.unload("m")


def test_unloading_goes_on_when_one_version_is_late(tmp_path: Path) -> None:
    async def run() -> None:
        office = Office(tmp_path, patience=0.0)
        for version in ("1.0", "2.0"):
            found = await registered(office.house, "m", version)
        asked = found.dispatcher.submit(request())
        await turns(lambda: any(process.held for process in office.house.launcher.living))
        with pytest.raises(CleaningTimedOut):
            await office.operations.unload("m")
        with pytest.raises(WorkerDied):
            await asked
        assert office.changes == [[]]
        assert office.house.launcher.living == []

    asyncio.run(run())


@scene
async def test_unloading_takes_the_versions_that_were_there(office: Office) -> None:
    """A version that comes while the others are unloaded, under the name of one of them, stays."""
    await registered(office.house, "m", "1.0")
    second = await registered(office.house, "m", "2.0")
    second.dispatcher.submit(request())
    await turns(lambda: any(process.held for process in office.house.launcher.living))
    unloading = asyncio.create_task(office.operations.unload("m"))
    await turns(lambda: [found.version for found in office.models] == ["1.0"])
    anew = await registered(office.house, "m", "2.0")
    for process in office.house.launcher.living:
        process.answer()
    await unloading
    assert list(office.models) == [anew]
    assert office.models.find("m") is anew


# --- unregistering --------------------------------------------------------------------------------------


@scene
async def test_the_sentence_of_unregistering(office: Office) -> None:
    for version in ("1.0", "2.0"):
        await registered(office.house, "m", version)
    assert await office.operations.unregister("m", "2.0") == Change('Model "m" unregistered')
    assert await office.operations.unregister("m", None) == Change('Model "m" unregistered')
    assert office.changes == [[("m", "1.0")], []]


@scene
async def test_what_cannot_be_unregistered_changes_nothing(office: Office) -> None:
    for version in ("1.0", "2.0"):
        await registered(office.house, "m", version)
    for name, version, error in (
        ("none", None, ModelNotFound),
        ("m", "3.0", ModelVersionNotFound),
        ("m", None, InvalidModelVersion),
        ("m", "1.0", InvalidModelVersion),
    ):
        with pytest.raises(error):
            await office.operations.unregister(name, version)
    assert office.changes == []
    assert len(office.house.launcher.living) == 2


def test_a_version_that_does_not_end_in_time_is_gone_all_the_same(tmp_path: Path) -> None:
    async def run() -> None:
        office = Office(tmp_path, patience=0.0)
        found = await registered(office.house)
        asked = found.dispatcher.submit(request())
        await turns(lambda: bool(office.house.launcher.processes[0].held))
        with pytest.raises(CleaningTimedOut):
            await office.operations.unregister("m", None)
        with pytest.raises(WorkerDied):
            await asked
        assert office.changes == [[]]

    asyncio.run(run())


@scene
async def test_who_unregisters_and_leaves_has_it_unregistered(office: Office) -> None:
    found = await registered(office.house)
    answer = found.dispatcher.submit(request())
    await turns(lambda: bool(office.house.launcher.processes[0].held))
    asked = asyncio.create_task(office.operations.unregister("m", None))
    await turns(lambda: not office.models.names())
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    office.house.launcher.processes[0].answer()
    assert (await answer).body == b"done"
    await turns(lambda: office.changes == [[]])
    assert office.house.launcher.living == []


# --- scaling --------------------------------------------------------------------------------------------


@scene
async def test_the_sentences_of_scaling(office: Office) -> None:
    found = await registered(office.house)
    scale = office.operations.scale
    said = await scale("m", None, Scale(3, synchronous=True))
    assert said == Change("Workers scaled to 3 for model: m")
    assert (found.loaded_workers(), found.max_workers) == (3, 3)
    said = await scale("m", "1.0", Scale(1, 2, synchronous=True))
    assert said == Change("Workers scaled to 1 for model: m, version: 1.0")
    assert (found.loaded_workers(), found.max_workers) == (1, 2)
    said = await scale("m", None, Scale(2))
    assert said == Change(PROCESSING, complete=False)
    await turns(lambda: found.loaded_workers() == 2)
    await turns(lambda: len(office.changes) == 3)


@pytest.mark.parametrize("synchronous", [True, False])
def test_what_cannot_be_scaled(tmp_path: Path, synchronous: bool) -> None:
    async def run() -> None:
        office = Office(tmp_path)
        found = await registered(office.house, workers=0)
        for name, version, bounds, error in (
            ("none", None, (1, 1), ModelNotFound),
            ("m", "2.0", (1, 1), ModelVersionNotFound),
            ("m", None, (2, 1), BadRequest),
        ):
            with pytest.raises(error):
                await office.operations.scale(name, version, Scale(*bounds, synchronous=synchronous))
        assert (found.max_workers, found.scaled, office.changes) == (0, False, [])

    asyncio.run(run())


@scene
async def test_scaling_says_that_a_worker_cannot_load(office: Office) -> None:
    found = await registered(office.house)
    office.house.launcher.load_error = "no such module"
    with pytest.raises(StartFailed) as raised:
        await office.operations.scale("m", None, Scale(2, synchronous=True))
    assert "no such module" in str(raised.value.cause)
    assert list(office.models) == [found]


def test_a_scale_that_comes_too_late_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        office = Office(tmp_path)
        found = await registered(office.house)
        unregistering = asyncio.create_task(office.operations.unregister("m", None))
        scaling = asyncio.create_task(office.operations.scale("m", None, Scale(2)))
        assert await scaling == Change(PROCESSING, complete=False)
        await unregistering
        await turns(lambda: bool(caplog.records))
        assert found.max_workers == 0
        assert office.house.launcher.living == []

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert "a change of the models failed" in caplog.text
