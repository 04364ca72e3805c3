"""Versions put together: devices in turn, threads, environments, and what an archive's configuration says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from models.stand_in import House, archive, request, said
from torchkeeper.errors import ArchiveError, BadRequest, RequirementsFailed
from torchkeeper.machine.cores import share, usable_cores
from torchkeeper.machine.hardware import cpu_count
from torchkeeper.models.builder import worker_environ
from torchkeeper.models.registry import Wish
from torchkeeper.serving.description import describe
from torchkeeper.wire.messages import ModelSpec


async def scaled(house: House, *counts: int) -> list[int | None]:
    """The devices of a model's workers, after it had so many of them."""
    found = await house.models.register(Wish("m-1.0.mar", given=said(initial_workers=counts[0])))
    for count in counts[1:]:
        await found.scale(count, count)
    await found.pool.settled()
    return [worker.spec.gpu_id for worker in found.pool.workers]


@pytest.mark.parametrize(
    ("counts", "devices"),
    [((4,), [0, 1, 0, 1]), ((2, 3, 4), [0, 1, 0, 1]), ((1, 1, 2, 3), [0, 1, 0]), ((3, 1, 2), [0, 1])],
)
def test_new_workers_take_turns_on_the_gpus(
    tmp_path: Path, counts: tuple[int, ...], devices: list[int]
) -> None:
    house = House(tmp_path, gpus=2)
    archive(house.store, "m")
    assert asyncio.run(scaled(house, *counts)) == devices


def test_models_share_the_turns(tmp_path: Path) -> None:
    house = House(tmp_path, gpus=2)
    archive(house.store, "m")
    archive(house.store, "n")

    async def run() -> list[int | None]:
        other = await house.models.register(Wish("n-1.0.mar", given=said(initial_workers=1)))
        assert other.on_gpu
        return await scaled(house, 2)

    assert asyncio.run(run()) == [1, 0]


@pytest.mark.parametrize(
    ("config", "devices"),
    [
        ("deviceType: cpu\n", [None, None]),
        ("deviceType: gpu\ndeviceIds: [3, 1]\n", [3, 1]),
        ("deviceType: gpu\ndeviceIds: [1, 9]\n", [0, 1]),
    ],
)
def test_a_model_may_choose_its_devices(tmp_path: Path, config: str, devices: list[int | None]) -> None:
    house = House(tmp_path, gpus=4)
    archive(house.store, "m", config=config)
    assert asyncio.run(scaled(house, 2)) == devices


def test_start_up_workers(tmp_path: Path) -> None:
    house = House(tmp_path, "default_workers_per_model=0\n", gpus=3)
    archive(house.store, "m")
    found = asyncio.run(house.models.register(Wish("m-1.0.mar", at_startup=True)))
    assert found.min_workers == 3


def test_packages_are_not_installed_into_the_store(tmp_path: Path) -> None:
    house = House(tmp_path, "install_py_dep_per_model=true\n")
    folder = house.store / "m"
    (folder / "MAR-INF").mkdir(parents=True)
    manifest = '{"model": {"modelName": "m", "handler": "h", "requirementsFile": "requirements.txt"}}'
    (folder / "MAR-INF" / "MANIFEST.json").write_text(manifest)
    (folder / "requirements.txt").touch()
    with pytest.raises(RequirementsFailed):
        asyncio.run(house.models.register(Wish("m", given=said(initial_workers=1))))
    assert sorted(path.name for path in folder.iterdir()) == ["MAR-INF", "requirements.txt"]


def test_a_configuration_that_cannot_be_read_is_an_empty_one(tmp_path: Path) -> None:
    house = House(tmp_path)
    archive(house.store, "m", config="batchSize: [")
    found = asyncio.run(house.models.register(Wish("m-1.0.mar", given=said(initial_workers=1))))
    assert found.about.config.batch_size == 1


def test_workers_get_no_secrets(tmp_path: Path) -> None:
    house = House(tmp_path, "blacklist_env_vars=HIDDEN.*\n")
    environ = {"PATH": "/bin", "HIDDEN_ONE": "x", "TS_KEYSTORE_PASS": "x", "TS_MANAGEMENT_KEY": "x"}
    assert "PATH" in worker_environ(house.settings, environ)
    assert "HIDDEN_ONE" not in worker_environ(house.settings, environ)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("9" * 30, "its manifest cannot be handed to workers: "),
        ("[" * 100_000 + "]" * 100_000, "cannot be read: "),
    ],
    ids=["a number of 30 digits", "100,000 lists"],
)
def test_a_manifest_that_no_worker_can_be_told_is_refused(tmp_path: Path, value: str, why: str) -> None:
    house = House(tmp_path)
    (house.store / "m" / "MAR-INF").mkdir(parents=True)
    manifest = f'{{"model": {{"modelName": "m", "handler": "h"}}, "mine": {value}}}'
    (house.store / "m" / "MAR-INF" / "MANIFEST.json").write_text(manifest)
    with pytest.raises(ArchiveError) as raised:
        asyncio.run(house.models.register(Wish("m", given=said(initial_workers=1))))
    assert why in raised.value.message
    assert not house.models.names()


@pytest.mark.parametrize(
    ("config", "asked", "handler"),
    [("default_service_handler=a.b:handle\n", None, "a.b:handle"), ("", "c.py", "c.py"), ("", None, None)],
)
def test_a_folder_without_a_manifest_is_served_where_a_handler_is_known(
    tmp_path: Path, config: str, asked: str | None, handler: str | None
) -> None:
    house = House(tmp_path, config)
    folder = tmp_path / "opt" / "model"
    (folder / "code").mkdir(parents=True)
    wish = Wish(str(folder), "mine", handler=asked, at_startup=True)
    if handler is None:
        with pytest.raises(ArchiveError, match=r"opt/model: no MAR-INF/MANIFEST\.json inside;"):
            asyncio.run(house.models.register(wish))
        return

    async def run() -> None:
        found = await house.models.register(wish)
        await found.pool.settled()
        (worker,) = found.pool.workers
        assert (found.name, found.version, found.about.mar_name) == ("mine", "1.0", str(folder))
        spec = worker.spec
        assert (spec.model_dir, spec.handler, spec.manifest) == (str(folder.resolve()), handler, {})
        await house.models.unregister("mine", None, 1.0)

    asyncio.run(run())
    assert (folder / "code").is_dir()


@pytest.mark.parametrize(("config", "envelope"), [("", None), ("service_envelope=body\n", "body")])
def test_envelopes_are_the_settings_and_no_manifests(
    tmp_path: Path, config: str, envelope: str | None
) -> None:
    house = House(tmp_path, config)
    model = {"modelName": "m", "handler": "h", "envelope": "json"}
    (house.store / "m" / "MAR-INF").mkdir(parents=True)
    (house.store / "m" / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"model": model}))

    async def run() -> None:
        found = await house.models.register(Wish("m", given=said(initial_workers=1)))
        await found.pool.settled()
        assert [worker.spec.envelope for worker in found.pool.workers] == [envelope]
        await house.models.unregister("m", None, 1.0)

    asyncio.run(run())


def test_what_is_wrong_with_execution_refuses_the_model(tmp_path: Path) -> None:
    house = House(tmp_path)
    archive(house.store, "m", config="execution: {thread: 2}\n")
    with pytest.raises(ArchiveError) as raised:
        asyncio.run(house.models.register(Wish("m-1.0.mar", given=said(initial_workers=1))))
    assert (
        "model-config.yaml: execution.thread is no key of it; did you mean threads?" in raised.value.message
    )
    assert not house.models.names()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("batchCost: bytes\n", "model-config.yaml: batchCost: bytes needs maxBatchCost"),
        ("batchCost: elements\nmaxBatchCost: 9\n", "those of this server come as json"),
    ],
)
def test_costs_that_cannot_be_known_refuse_the_model(tmp_path: Path, config: str, why: str) -> None:
    house = House(tmp_path, "service_envelope=json\n")
    archive(house.store, "m", config=config)
    with pytest.raises(ArchiveError, match=why):
        asyncio.run(house.models.register(Wish("m-1.0.mar", given=said(initial_workers=1))))


def test_costs_are_described_and_weighed(tmp_path: Path) -> None:
    house = House(tmp_path)
    archive(house.store, "m", config="batchCost: X-Tokens\nmaxBatchCost: 9\nbatchSize: 4\n")

    async def run() -> None:
        found = await house.models.register(Wish("m-1.0.mar", given=said(initial_workers=1)))
        await found.pool.settled()
        assert describe(found).batching == {"policy": "adaptive", "batchCost": "X-Tokens", "maxBatchCost": 9}
        with pytest.raises(BadRequest, match="needs a header X-Tokens"):
            found.dispatcher.submit(request())
        await house.models.unregister("m", None, 1.0)

    asyncio.run(run())


def test_threads_of_a_model_are_what_it_says(tmp_path: Path) -> None:
    house = House(tmp_path)
    archive(house.store, "m", config="execution: {threads: 3}\n")

    async def run() -> None:
        found = await house.models.register(Wish("m-1.0.mar", given=said(initial_workers=2)))
        await found.pool.settled()
        assert [worker.spec.threads for worker in found.pool.workers] == [3, 3]
        assert found.pool.workers[0].spec.execution.threads == 3

    asyncio.run(run())


def test_a_sample_that_is_not_there_refuses_the_model(tmp_path: Path) -> None:
    house = House(tmp_path)
    archive(house.store, "m", config="execution: {warmup: [h.py, gone.png]}\n")
    with pytest.raises(ArchiveError, match=r"execution.warmup: the archive has no file gone\.png"):
        asyncio.run(house.models.register(Wish("m-1.0.mar", given=said(initial_workers=1))))


@pytest.mark.parametrize(
    ("config", "settings", "workers"),
    [
        ("execution: {hint: latency}\n", "default_workers_per_model=0\n", 1),
        ("execution: {hint: throughput}\n", "default_workers_per_model=0\n", cpu_count()),
        ("execution: {hint: latency}\nminWorkers: 3\n", "default_workers_per_model=0\n", 3),
        ("execution: {hint: latency}\n", "default_workers_per_model=2\n", 2),
    ],
)
def test_a_hint_chooses_the_workers_of_a_start_up_model(
    tmp_path: Path, config: str, settings: str, workers: int
) -> None:
    house = House(tmp_path, settings)
    archive(house.store, "m", config=config)

    async def run() -> None:
        found = await house.models.register(Wish("m-1.0.mar", at_startup=True))
        hint = config.split("hint: ")[1].partition("}")[0]
        threads = max(cpu_count() // workers, 1)
        assert found.execution == {
            "hint": {"for": hint, "workers": workers, "batchPolicy": "adaptive", "threads": threads}
        }

    asyncio.run(run())


@pytest.mark.parametrize(
    ("setting", "config", "kept"),
    [
        ("compile_cache=/code\n", "batchSize: 1\n", "/code"),
        ("compile_cache=/code\n", "sandbox: strict\n", ""),
        ("compile_cache=off\n", "batchSize: 1\n", ""),
    ],
)
def test_strict_workers_know_of_no_compiled_code(
    tmp_path: Path, setting: str, config: str, kept: str
) -> None:
    (spec,) = specs_of(tmp_path, setting, config, 1)
    assert spec.compile_cache == kept
    assert spec.compile_cache_max_bytes == 10 * 1024**3


def specs_of(folder: Path, setting: str, config: str, workers: int) -> list[ModelSpec]:
    house = House(folder, setting)
    archive(house.store, "m", config=config)

    async def run() -> list[ModelSpec]:
        found = await house.models.register(Wish("m-1.0.mar", given=said(initial_workers=workers)))
        return [worker.spec for worker in found.pool.workers]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("setting", "config", "wished"),
    [
        ("ipex_enable=true\n", "batchSize: 1\n", True),
        ("ipex_enable=true\n", "execution: {threads: 2}\n", False),
        ("ipex_enable=true\n", "execution: {}\n", False),
        ("ipex_enable=true\n", "pt2: inductor\n", False),
        ("", "batchSize: 1\n", False),
    ],
)
def test_a_wish_is_for_models_that_say_nothing_of_how_they_run(
    tmp_path: Path, setting: str, config: str, wished: bool
) -> None:
    (spec,) = specs_of(tmp_path, setting, config, 1)
    assert spec.wished.applies is wished


def test_workers_are_pinned_to_their_cores(tmp_path: Path) -> None:
    cores = usable_cores()
    for name, setting, wanted, threads in (
        ("not", "", [(), ()], None),
        ("shares", "cpu_launcher_enable=true\n", [share(cores, worker, 2) for worker in range(2)], None),
        (
            "each",
            "cpu_launcher_enable=true\ncpu_launcher_args=--ncores_per_instance 1\n",
            [share(cores, worker, 2, 1) for worker in range(2)],
            1,
        ),
        (
            "more than there are",
            "cpu_launcher_enable=true\ncpu_launcher_args=--ncores_per_instance 5000000000000000000000\n",
            [cores, cores],
            len(cores),
        ),
    ):
        (tmp_path / name).mkdir()
        found = specs_of(tmp_path / name, setting, "", 2)
        assert [spec.cores for spec in found] == wanted
        assert {spec.threads for spec in found} == {threads or max(cpu_count() // 2, 1)}
