"""The registry: who gets a name, who takes what away, and that nothing is left of what failed."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.stand_in import House, archive, request, said, turns
from shortage import no_descriptors, no_threads
from signers import KeyPair
from torchkeeper.archive.archive import open_archive
from torchkeeper.errors import (
    ArchiveError,
    BadRequest,
    CleaningTimedOut,
    Conflict,
    FileExists,
    InvalidModelVersion,
    ModelNotAt,
    ModelNotFound,
    ModelVersionNotFound,
    RequirementsFailed,
    ServiceUnavailable,
    StartFailed,
    SystemFailed,
    TorchkeeperError,
)
from torchkeeper.models.builder import Builder
from torchkeeper.models.registry import Models, Wish
from torchkeeper.models.version import About, ModelVersion
from torchkeeper.pool.life import State
from torchkeeper.serving.description import describe


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def one(workers: int = 1, **more: Any) -> Wish:
    return Wish("m-1.0.mar", given=said(initial_workers=workers), **more)


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "config", "handler", "asking"),
    [
        ({}, "asyncCommunication: true\n", "h", "asyncCommunication in model-config.yaml"),
        ({}, "parallelType: pp\nparallelLevel: 2\n", "h", "parallelType: pp in model-config.yaml"),
        ({}, "", "trt_llm_handler", "handler trt_llm_handler"),
        ({"handler": "dali_image_classifier"}, "", "h", "handler dali_image_classifier"),
    ],
)
def test_a_model_that_asks_for_what_is_not_here_is_refused_and_leaves_nothing(
    house: House, wish: dict[str, Any], config: str, handler: str, asking: str
) -> None:
    archive(house.store, "m", config=config, handler=handler)
    with pytest.raises(ArchiveError, match=f"^m-1.0.mar: {asking} asks for .*, which torchkeeper does not"):
        asyncio.run(house.models.register(one(**wish)))
    assert house.models.names() == ()
    assert house.left() == ["m-1.0.mar"]


@pytest.mark.parametrize(
    "source",
    [
        "async def handle(data, context):\n    return data\n",
        "class H:\n    def initialize(self, c): pass\n    async def handle(self, d, c): pass\n",
    ],
)
def test_an_asynchronous_handler_is_refused_before_a_worker_loads_it(house: House, source: str) -> None:
    with zipfile.ZipFile(archive(house.store, "m", handler="other.py"), "a") as file:
        file.writestr("other.py", source)
    with pytest.raises(
        ArchiveError, match=r"^m-1.0.mar: async def \S*handle asks for asynchronous handlers, "
    ):
        asyncio.run(house.models.register(one(workers=0)))


def test_a_long_handler_is_left_to_its_workers_and_that_is_said(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """The server answers requests meanwhile; a long one's syntax tree takes seconds and a gigabyte."""
    source = f"async def handle(data, context):\n    return data\n{'#' * 256 * 1024}"
    with zipfile.ZipFile(archive(house.store, "m", handler="other.py"), "a") as file:
        file.writestr("other.py", source)
    asyncio.run(house.models.register(one(workers=0)))
    assert "other.py is over 256 KB: whether it is asynchronous, its workers will say" in caplog.messages


def test_a_workflow_is_no_model(house: House) -> None:
    archive(house.store, "m").rename(house.store / "flow.war")
    with pytest.raises(
        ArchiveError, match=r"^flow\.war asks for workflows, which torchkeeper does not have yet; "
    ):
        asyncio.run(house.models.register(Wish("flow.war")))
    assert house.left() == ["flow.war"]


def test_a_runtime_that_is_not_here_is_named_by_what_it_is(house: House) -> None:
    archive(house.store, "m")
    with pytest.raises(BadRequest, match=r"^runtime LSP asks for the C\+\+ back end"):
        asyncio.run(house.models.register(Wish("m-1.0.mar", given=said(runtime="LSP"))))


# --- who takes what away --------------------------------------------------------------------------------


def test_who_waits_for_his_version_takes_only_that_one_down(house: House) -> None:
    """A registers and waits, B unregisters it, C registers the name anew while B's answers are awaited."""
    archive(house.store, "m")

    async def run() -> None:
        models = house.models
        house.launcher.load_error = ""
        of_a = await models.register(one())
        waiting = asyncio.create_task(models.settle(of_a))
        asked = of_a.dispatcher.submit(request())
        draining = asyncio.create_task(models.unregister("m", None, 60.0))
        await turns(lambda: not models.names() and any(of.spec for of in house.launcher.living))
        house.launcher.load_error = None
        of_c = await models.register(one())
        house.launcher.processes[0].end(1)
        with pytest.raises(StartFailed):
            await waiting
        assert models.find("m") is of_c
        assert models.default_version("m") == "1.0"
        assert not draining.done()  # A's failure must not hurry B
        await turns(lambda: of_c.loaded_workers() == 1)
        assert len(house.launcher.living) == 1
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        with pytest.raises(ServiceUnavailable):
            await asked
        assert models.find("m") is of_c
        assert house.meters.open == [("m", "1.0")]

    asyncio.run(run())


def test_a_download_stays_that_another_model_was_registered_from(house: House, tmp_path: Path) -> None:
    source = archive(tmp_path, "m")

    async def run() -> None:
        fetched = await house.models.register(Wish(source.as_uri(), "fetched", given=said(initial_workers=0)))
        await house.models.register(Wish("m-1.0.mar", "stored", given=said(initial_workers=0)))
        await house.models.unregister("fetched", None, 1.0)
        assert "m-1.0.mar" in house.left()
        assert fetched.about.owned[1] == house.store / "m-1.0.mar"

    asyncio.run(run())


def test_what_was_fetched_and_unpacked_goes_with_its_version(house: House, tmp_path: Path) -> None:
    source = archive(tmp_path, "m")

    async def run() -> None:
        found = await house.models.register(Wish(source.as_uri(), given=said(initial_workers=1)))
        await house.models.settle(found)
        assert len(house.left()) == 2
        await house.models.unregister("m", None, 1.0)
        assert house.left() == house.meters.open == house.launcher.living == []

    asyncio.run(run())


def test_the_default_version(house: House) -> None:
    for version in ("1.0", "2.0"):
        archive(house.store, "m", version)

    async def run() -> None:
        models = house.models
        for version in ("1.0", "2.0"):
            await models.register(Wish(f"m-{version}.mar", given=said(initial_workers=0)))
        assert models.find("m").version == "1.0"
        with pytest.raises(InvalidModelVersion):
            await models.unregister("m", None, 1.0)
        with pytest.raises(ModelVersionNotFound):
            models.set_default("m", "3.0")
        models.set_default("m", "2.0")
        assert models.find("m").version == "2.0"
        await models.unregister("m", "1.0", 1.0)
        await models.unregister("m", None, 1.0)
        for look in (models.find, models.versions):
            with pytest.raises(ModelNotFound):
                look("m")

    asyncio.run(run())


def test_unregistering_breaks_a_scale_to_nothing(house: House) -> None:
    archive(house.store, "m")

    async def run() -> None:
        found = await house.models.register(one())
        await found.pool.settled()
        held = found.dispatcher.submit(request())
        await turns(lambda: bool(house.launcher.processes[0].held))
        scaling = asyncio.create_task(found.scale(0, 0))
        scaling_up = asyncio.create_task(found.scale(2, 2))
        await turns(lambda: found.max_workers == 0)
        with pytest.raises(CleaningTimedOut):
            await house.models.unregister("m", None, 0.0)
        with pytest.raises(TorchkeeperError):
            await held
        await scaling
        with pytest.raises(ModelVersionNotFound):
            await scaling_up
        assert house.launcher.living == []

    asyncio.run(run())


# --- registrations that fail ----------------------------------------------------------------------------


class Meddling(Builder):
    """Lets something happen while the archive's requirements are seen to."""

    def __init__(self, house: House, meanwhile: Callable[[House], None]) -> None:
        launcher: Any = house.launcher
        super().__init__(house.settings, {}, launcher, house.sinks)
        self._house = house
        self._meanwhile = meanwhile

    async def prepare(self, about: About, archive: Any) -> str | None:
        self._meanwhile(self._house)
        return None


class Meeting(Builder):
    """Goes on with two registrations only when both are this far."""

    def __init__(self, house: House) -> None:
        launcher: Any = house.launcher
        super().__init__(house.settings, {}, launcher, house.sinks)
        self._both = asyncio.Barrier(2)

    async def prepare(self, about: About, archive: Any) -> str | None:
        await self._both.wait()
        return None


@pytest.mark.parametrize(("name", "there"), [("other", ["m", "other"]), (None, ["m"])])
def test_one_download_is_registered_twice_at_the_same_moment(
    house: House, tmp_path: Path, name: str | None, there: list[str]
) -> None:
    """A second name shares the file, which stays as long as one of them; a second version is a conflict."""
    url = archive(tmp_path, "m").as_uri()

    async def run() -> None:
        models = Models(house.settings, Meeting(house))
        wishes = [Wish(url, given=said(initial_workers=0)), Wish(url, name, given=said(initial_workers=0))]
        ends = await asyncio.gather(*map(models.register, wishes), return_exceptions=True)
        assert [type(end) for end in ends if isinstance(end, Exception)] == [Conflict] * (2 - len(there))
        assert sorted(models.names()) == there
        for left in reversed(there):
            assert [path.name for path in house.store.iterdir()] == ["m-1.0.mar"]
            await models.unregister(left, None, 1.0)
        assert house.left() == []

    asyncio.run(run())


def taken(house: House) -> None:
    """Somebody else puts a file of the download's name into the store."""
    (house.store / "m-1.0.mar").write_text("theirs")


def fails(house: House) -> None:
    raise RequirementsFailed("m", "no such package")


FAILURES: list[tuple[str, dict[str, Any], Callable[[House], None] | None, type[TorchkeeperError]]] = [
    ("no handler", {"handler": None}, None, ArchiveError),
    ("the name is taken", {"name": "other"}, None, Conflict),
    ("not to be installed", {}, fails, RequirementsFailed),
    ("the file is there by now", {}, taken, FileExists),
]


@pytest.mark.parametrize(("what", "made", "meanwhile", "error"), FAILURES, ids=lambda row: str(row)[:20])
def test_nothing_is_left_of_a_registration_that_fails(
    house: House,
    tmp_path: Path,
    what: str,
    made: dict[str, Any],
    meanwhile: Callable[[House], None] | None,
    error: type[TorchkeeperError],
) -> None:
    name = made.pop("name", "m")
    source = archive(tmp_path, name, **made)

    async def run() -> None:
        archive(house.store, "here")
        await house.models.register(Wish("here-1.0.mar", "other", given=said(initial_workers=0)))
        models = house.models if meanwhile is None else Models(house.settings, Meddling(house, meanwhile))
        before = [*models.names()], house.left(), [*house.meters.open], house.meters.made
        with pytest.raises(error):
            await models.register(Wish(source.as_uri(), given=said(initial_workers=1)))
        (house.store / source.name).unlink(missing_ok=True)  # theirs
        assert ([*models.names()], house.left(), house.meters.open, house.meters.made) == before
        assert house.launcher.processes == []

    asyncio.run(run())


@pytest.mark.parametrize("broken", [b"no archive", b""])
def test_nothing_is_left_of_an_archive_that_cannot_be_read(
    house: House, tmp_path: Path, broken: bytes
) -> None:
    (tmp_path / "m.mar").write_bytes(broken)
    with pytest.raises(ArchiveError):
        asyncio.run(house.models.register(Wish((tmp_path / "m.mar").as_uri(), given=said(initial_workers=1))))
    assert house.left() == []
    assert house.meters.made == 0


def test_what_a_registration_that_fails_has_unpacked_is_removed_beside_the_event_loop(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be many files."""
    archive(house.store, "m")
    removing: list[int] = []
    remove = shutil.rmtree

    def rmtree(*arguments: Any, **more: Any) -> None:
        removing.append(threading.get_ident())
        remove(*arguments, **more)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with pytest.raises(RequirementsFailed):
        asyncio.run(Models(house.settings, Meddling(house, fails)).register(one()))
    assert removing
    assert threading.get_ident() not in removing


def test_a_model_goes_also_where_there_is_no_thread_to_take_it_away(house: House) -> None:
    archive(house.store, "m")

    async def scene() -> None:
        found = await house.models.register(one())
        with no_threads():
            await house.models.take_down(found, 0.0)
        assert house.left() == ["m-1.0.mar"]
        with no_threads():
            await house.models.stop(0.0)

    asyncio.run(scene())
    assert not [path for path in house.temp.iterdir() if "torchkeeper" in path.name]


def test_a_machine_that_fails_for_a_moment_changes_no_settings(house: House) -> None:
    archive(house.store, "m", config="batchSize: 4\n")
    found = open_archive(house.store / "m-1.0.mar", house.temp / "m")
    with no_descriptors(), pytest.raises(SystemFailed, match=r"model-config\.yaml cannot be read: Too many"):
        house.builder.read_config(found, "m")
    assert house.builder.read_config(found, "m").values()["batch_size"] == 4


def test_a_version_that_cannot_load_leaves_nothing(house: House, tmp_path: Path) -> None:
    source = archive(tmp_path, "m")
    house.launcher.load_error = "no such module"

    async def run() -> None:
        found = await house.models.register(Wish(source.as_uri(), given=said(initial_workers=1)))
        with pytest.raises(StartFailed, match="Failed to start workers"):
            await house.models.settle(found)

    asyncio.run(run())
    assert house.models.names() == ()
    assert house.left() == house.meters.open == []


def test_a_default_version_that_cannot_load_leaves_its_place_to_another(house: House) -> None:
    for version in ("1.0", "2.0"):
        archive(house.store, "m", version)
    house.launcher.load_error = ""

    async def run() -> None:
        models = house.models
        first = await models.register(Wish("m-1.0.mar", given=said(initial_workers=1)))
        waiting = asyncio.create_task(models.settle(first))
        await models.register(Wish("m-2.0.mar", given=said(initial_workers=0)))
        await turns(lambda: any(process.spec for process in house.launcher.living))
        house.launcher.load_error = "no such module"
        for process in house.launcher.living:
            process.load()
        with pytest.raises(StartFailed):
            await waiting
        assert models.find("m").version == models.default_version("m") == "2.0"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (Wish("absent.mar"), ModelNotAt),
        (Wish("../m.mar"), ModelNotAt),
        (Wish("m-1.0.mar", given=said(runtime="cobol")), BadRequest),
    ],
)
def test_what_cannot_be_registered(house: House, wish: Wish, error: type[TorchkeeperError]) -> None:
    archive(house.store, "m")
    with pytest.raises(error):
        asyncio.run(house.models.register(wish))


@pytest.mark.parametrize("name", ["a/b", "../../x<script>", ".", "..", "a\nb", "\0", "m" * 256])
def test_a_name_that_no_url_can_say_is_refused(house: House, name: str) -> None:
    archive(house.store, "m")
    with pytest.raises(BadRequest, match=r"must be at most 255 printable characters without /"):
        asyncio.run(house.models.register(Wish("m-1.0.mar", name)))
    assert house.models.names() == ()


@pytest.mark.parametrize("name", ["a b", "ü", "a?b#c", "x<script>", "%2e", "m" * 255])
def test_any_other_name_is_taken_unless_it_is_strict(house: House, name: str) -> None:
    archive(house.store, "m")
    asyncio.run(house.models.register(Wish("m-1.0.mar", name)))
    assert house.models.names() == (name,)
    strict = dataclasses.replace(house.settings, strict=True)
    models = Models(strict, Builder(strict, {}, house.launcher, house.sinks, 0))
    if name[0] == "m":
        asyncio.run(models.register(Wish("m-1.0.mar", name)))
        return
    with pytest.raises(BadRequest, match=r"^Model name '.*' must match .* \(strict=true\)$"):
        asyncio.run(models.register(Wish("m-1.0.mar", name)))


# --- start-up -------------------------------------------------------------------------------------------


def test_a_start_up_model_that_failed_is_remembered_until_it_is_there(house: House) -> None:
    async def run() -> None:
        models = house.models
        for name in ("a", "b"):
            await models.load_at_start(name, "m-1.0.mar")
        await models.load_at_start(None, "lost-1.0.mar")
        assert len(models.unready()) == 3
        archive(house.store, "m")
        archive(house.store, "lost")
        await models.register(Wish("m-1.0.mar", "a", given=said(initial_workers=0)))
        assert len(models.unready()) == 2
        await models.register(Wish("lost-1.0.mar", "found", given=said(initial_workers=0)))
        assert len(models.unready()) == 1
        await models.register(Wish("m-1.0.mar", "b", given=said(initial_workers=0)))
        assert models.unready() == []

    asyncio.run(run())


def test_a_start_up_model_that_is_there_already_is_missed_by_nobody(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """As in TorchServe: listed twice, or two archives of one name and version, is a warning."""
    archive(house.store, "m")
    (house.store / "copy.mar").write_bytes((house.store / "m-1.0.mar").read_bytes())

    async def run() -> None:
        for name, url in ((None, "m-1.0.mar"), (None, "m-1.0.mar"), ("m", "copy.mar")):
            await house.models.load_at_start(name, url)
        (found,) = house.models
        await house.models.settle(found)
        assert found.about.mar_name == "m-1.0.mar"
        assert house.models.unready() == []
        assert "copy.mar: Model version 1.0 is already registered for model m" in caplog.text

    asyncio.run(run())


def test_a_model_of_the_store_by_its_name(house: House) -> None:
    archive(house.store, "m").rename(house.store / "m.mar")

    async def run() -> ModelVersion:
        with pytest.raises(ModelNotFound):
            await house.models.register_from_store("absent")
        with pytest.raises(ModelNotFound):
            await house.models.register_from_store((house.store.parent / "outside").as_uri())
        found = await house.models.register_from_store("m")
        await house.models.settle(found)
        return found

    found = asyncio.run(run())
    assert (found.name, found.loaded_workers()) == ("m", 1)
    assert house.models.healthy()


@pytest.mark.parametrize("asked", [False, True])
def test_a_broken_model_is_the_servers_ill_health_only_where_that_is_asked_for(
    tmp_path: Path, asked: bool
) -> None:
    house = House(tmp_path, f"ping_models={str(asked).lower()}\n")
    archive(house.store, "m")

    async def run() -> None:
        found = await house.models.register(Wish("m-1.0.mar", serve=True))
        await house.models.settle(found)
        assert house.models.healthy()
        (worker,) = found.pool.workers
        worker.life.state = State.GIVEN_UP
        assert house.models.healthy() is not asked
        assert not found.ready()
        worker.life.state = State.READY
        await house.models.stop(0.0)

    asyncio.run(run())


# --- signatures -----------------------------------------------------------------------------------------


def test_what_nobody_trusted_has_signed_is_refused_before_it_is_read(tmp_path: Path) -> None:
    ours = KeyPair(tmp_path, "ours")
    house = House(tmp_path, f"verify_models=require\nverify_public_keys={ours.public}\n")
    signed, unsigned = archive(house.store, "m"), archive(tmp_path, "n")
    signature = ours.sign(signed)
    (tmp_path / "evil.py").write_text("def handle(data, context): ...")
    (tmp_path / "n-1.0.mar.sig").write_bytes(signature.read_bytes())

    async def scenario() -> None:
        found = await house.models.register(one())
        assert found.about.provenance is not None
        assert found.about.provenance.state == "verified"
        assert describe(found).signature == {"state": "verified", "told": found.about.provenance.told}
        with pytest.raises(ArchiveError, match=r"n-1\.0\.mar is refused: it is not what the key"):
            await house.models.register(Wish(unsigned.as_uri()))
        (tmp_path / "n-1.0.mar.sig").unlink()
        await house.models.load_at_start(None, unsigned.as_uri())
        with pytest.raises(ModelNotFound) as raised:
            house.models.find("n_1_0")
        assert "it is not signed (verify_models=require)" in raised.value.text
        ours.sign(unsigned)
        for handler in (f"{tmp_path}/evil.py:handle", "../evil:handle", "deep/../../evil"):
            with pytest.raises(ArchiveError, match="outside of the signed archive"):
                await house.models.register(Wish(unsigned.as_uri(), handler=handler))
        assert house.left().count("n-1.0.mar") == 0
        fetched = await house.models.register(Wish(unsigned.as_uri(), handler="h.py:handle"))
        assert "n-1.0.mar.sig" in house.left()
        await house.models.unregister("m", None, 1.0)
        await house.models.unregister(fetched.name, None, 1.0)
        assert house.left() == ["m-1.0.mar", "m-1.0.mar.sig"]

    asyncio.run(scenario())
