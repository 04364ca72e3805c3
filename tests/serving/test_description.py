"""What answers say of versions, workers, settings and of the server, over real versions without processes."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from models.stand_in import House, archive, registered, request, said, turns
from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.config.model_key import In
from torchkeeper.config.model_settings import TABLE
from torchkeeper.models.registry import Wish
from torchkeeper.pool.life import State
from torchkeeper.serving.description import describe, model_metadata, server_metadata, setting_origins
from torchkeeper.wire.messages import Signature, TensorSpec, Together

#: TorchServe's fields of a version, in its order; some are there only where there is something to say.
FIELDS = [
    *("modelName", "modelVersion", "modelUrl", "runtime", "minWorkers", "maxWorkers", "batchSize"),
    *("maxBatchDelay", "responseTimeout", "startupTimeout", "maxRetryTimeoutInSec", "clientTimeoutInMills"),
    *("parallelType", "parallelLevel", "deviceType", "continuousBatching", "useJobTicket", "useVenv"),
    *("stateful", "sequenceMaxIdleMSec", "sequenceTimeoutMSec", "maxNumSequence", "maxSequenceJobQueueSize"),
    *("loadedAtStartup", "workers", "jobQueueStatus"),
]

STATUSES = {
    State.STARTING: "LOADING",
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.BUSY: "READY",
    State.DRAINING: "UNLOADING",
    State.LEAVING: "UNLOADING",
    State.STOPPED: "UNLOADING",
    State.BACKING_OFF: "BACKING_OFF",
    State.GIVEN_UP: "GIVEN_UP",
}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def shown(described: object) -> Any:
    """A description as clients read it."""
    return json.loads(msgspec.json.encode(described))


def test_the_fields_of_a_version_and_their_order(house: House) -> None:
    async def run() -> None:
        found = shown(describe(await registered(house, "m", "2.0", 2)))
        assert list(found) == FIELDS
        assert (found["modelName"], found["modelVersion"], found["modelUrl"]) == ("m", "2.0", "m-2.0.mar")
        assert (found["minWorkers"], found["maxWorkers"], len(found["workers"])) == (2, 2, 2)
        assert (found["runtime"], found["deviceType"], found["loadedAtStartup"]) == ("python", "cpu", False)
        assert found["jobQueueStatus"] == {"remainingCapacity": 100, "pendingRequests": 0}
        assert (found["maxNumSequence"], found["maxSequenceJobQueueSize"]) == (0, 0), "as TorchServe says"

    asyncio.run(run())


def test_every_setting_that_descriptions_have_is_shown_as_it_holds(house: House) -> None:
    config = (
        "batchSize: 4\nmaxBatchDelay: 7\nresponseTimeout: 2.5\nstartupTimeout: 9\njobQueueSize: 3\n"
        "maxRetryTimeoutInSec: 8\nclientTimeoutInMills: 11\nuseJobTicket: true\nuseVenv: true\n"
    )
    archive(house.store, "m", config=config)

    async def run() -> None:
        found = await registered(house, workers=0)
        told, values = shown(describe(found)), found.values()
        for row in TABLE:
            if In.DESCRIPTION in row.places:
                assert told[row.name] == values[row.attribute], row.name
        assert (told["batchSize"], told["responseTimeout"], told["useVenv"]) == (4, 2.5, True)
        assert (told["startupTimeout"], type(told["startupTimeout"])) == (9, int)
        assert told["jobQueueStatus"]["remainingCapacity"] == 3

    asyncio.run(run())


def test_what_is_there_only_for_some(tmp_path: Path) -> None:
    house = House(tmp_path, gpus=2)
    archive(house.store, "m", config="deviceIds: [1, 0]\nautoscale: true\nminWorkers: 1\nmaxWorkers: 2\n")

    async def run() -> None:
        found = await house.models.register(Wish("m-1.0.mar", at_startup=True))
        await found.pool.settled()
        told = shown(describe(found, {"speaks": "digits"}, origins=True))
        assert set(told) - set(FIELDS) == {"deviceIds", "customizedMetadata", "autoscale", "settingOrigins"}
        assert (told["deviceType"], told["deviceIds"], told["loadedAtStartup"]) == ("gpu", [1, 0], True)
        assert (told["customizedMetadata"], told["autoscale"]) == ({"speaks": "digits"}, True)
        assert told["settingOrigins"] == setting_origins(found)
        (worker,) = told["workers"]
        assert (worker["gpu"], worker["gpuUsage"]) == (True, "gpuId::1")
        assert shown(describe(found, {}))["customizedMetadata"] == {}
        await house.models.stop(0.0)

    asyncio.run(run())


def test_requests_that_wait_and_those_that_would_fit(house: House) -> None:
    archive(house.store, "m", config="jobQueueSize: 5\n")

    async def run() -> None:
        found = await registered(house)
        for _ in range(3):
            found.dispatcher.submit(request()).add_done_callback(lambda ticket: ticket.exception())
        await turns(lambda: bool(house.launcher.processes[0].held))
        queue = shown(describe(found))["jobQueueStatus"]
        assert queue == {
            "remainingCapacity": 5 - queue["pendingRequests"],
            "pendingRequests": queue["pendingRequests"],
        }
        assert 0 < queue["pendingRequests"] < 3
        await house.models.stop(0.0)

    asyncio.run(run())


def test_a_worker(house: House) -> None:
    async def run() -> None:
        found = await registered(house)
        (worker,) = found.pool.workers
        worker.started_at, worker.number = 0.5, 9004
        process: Any = worker.process
        for pid, memory in ((os.getpid(), range(1 << 20, 1 << 40)), (0x7FFFFFFF, range(1))):
            process.pid = pid
            (told,) = shown(describe(found))["workers"]
            assert told.pop("memoryUsage") in memory
            assert list(told.items()) == [
                ("id", "9004"),
                ("startTime", "1970-01-01T00:00:00.500Z"),
                ("status", "READY"),
                ("pid", pid),
                ("gpu", False),
                ("gpuUsage", "N/A"),
            ]
        worker.process = None
        (told,) = shown(describe(found))["workers"]
        assert (told["pid"], told["memoryUsage"]) == (-1, 0)

    asyncio.run(run())


@pytest.mark.parametrize("state", State)
def test_a_worker_in_each_state(house: House, state: State) -> None:
    async def run() -> None:
        found = await registered(house)
        found.pool.workers[0].life.state = state
        assert describe(found).workers[0].status == STATUSES[state]

    asyncio.run(run())


def test_who_says_what_holds(tmp_path: Path) -> None:
    house = House(tmp_path, "default_response_timeout=77\n")
    archive(house.store, "m", config="batchSize: 4\n")

    async def run() -> None:
        found = await house.models.register(
            Wish("m-1.0.mar", given=said(initial_workers=1, max_batch_delay=5))
        )
        await found.pool.settled()
        told = setting_origins(found)
        assert list(told) == [row.name for row in TABLE]
        assert told["batchSize"].startswith("model-config.yaml/")
        assert told["maxBatchDelay"] == "request/max_batch_delay"
        assert told["minWorkers"] == "request/initial_workers"
        assert told["responseTimeout"].startswith("setting/")
        assert told["useVenv"] == told["maxWorkers"] == "default"
        await found.scale(2, 3)
        scaled = setting_origins(found)
        assert scaled == told | {"minWorkers": "request", "maxWorkers": "request"}

    asyncio.run(run())


@pytest.mark.parametrize("repository", [False, True])
def test_the_server(repository: bool) -> None:
    told = server_metadata(repository=repository)
    assert (told["name"], told["version"]) == ("Torchserve", TORCHSERVE_VERSION)
    assert ("model_repository" in told["extensions"]) is repository
    assert {"binary_tensor_data", "kserve", "kubeflow"} <= set(told["extensions"])


def test_a_models_metadata_are_of_the_version_and_of_its_sisters() -> None:
    config = SimpleNamespace(v2_inputs=({"name": "a"},), v2_outputs=())
    known = Signature((TensorSpec("x"),), (TensorSpec("y", "FP32", (-1, 3)), TensorSpec("z")))
    found: Any = SimpleNamespace(name="m", about=SimpleNamespace(config=config), signature=known)
    sisters = tuple(SimpleNamespace(version=version) for version in ("1.0", "2.0"))
    models: Any = SimpleNamespace(versions=lambda name: sisters if name == "m" else ())
    assert shown(model_metadata(models, found)) == {
        "name": "m",
        "versions": ["1.0", "2.0"],
        "platform": "pytorch",
        "inputs": [{"name": "a"}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}, {"name": "z"}],
    }


@pytest.mark.parametrize(
    ("torch", "told"), [("", None), ("2.10.1", None), ("2.9.1+cpu", "torch 2.9.1+cpu lets")]
)
def test_a_torch_that_loads_weights_unsafely_is_told_of(tmp_path: Path, torch: str, told: str | None) -> None:
    house = House(tmp_path)
    house.launcher.torch = torch

    async def scenario() -> None:
        found = shown(describe(await registered(house))).get("torchWarning")
        assert (found is None) == (told is None)
        assert found is None or found.startswith(told)

    asyncio.run(scenario())


def test_what_was_applied_of_execution_is_told_once_it_is(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.launcher.execution = {"threads": 2, "dtype": "bfloat16"}

    async def scenario() -> None:
        found = await registered(house)
        assert shown(describe(found))["execution"] == {"threads": 2, "dtype": "bfloat16"}

    asyncio.run(scenario())


def test_a_batch_size_that_warm_up_finds_is_the_one_in_force(house: House) -> None:
    archive(house.store, "m", config="batchSize: auto\n")

    async def run() -> None:
        house.launcher.together = Together(1, "7.png in a batch of 2: /models/m/7 is another one")
        found = await registered(house, workers=0)
        told = shown(describe(found))
        assert (told["batchSize"], told["batching"]["batchSize"]["auto"]) == (1, 1)
        assert "no worker" in told["batching"]["batchSize"]["why"]
        await found.scale(1, 1)
        await found.pool.settled()
        told = shown(describe(found))
        why = {"auto": 1, "why": "7.png in a batch of 2: 7 is another one"}
        assert (told["batchSize"], told["batching"]) == (1, {"policy": "adaptive", "batchSize": why})
        house.launcher.together = Together(64)
        await found.scale(2, 2)
        await found.pool.settled()
        told = shown(describe(found))
        assert (told["batchSize"], told["batching"]["batchSize"]) == (64, {"auto": 64})
        assert found.values()["batch_size"] == "auto"
        spec = house.launcher.processes[0].spec
        assert (spec.batch_size, spec.auto_batches) == (64, True)

    asyncio.run(run())
