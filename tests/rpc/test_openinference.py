"""The Open Inference Protocol's service: what it says of server and models, and tensors in and out."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.stand_ins import until
from models.stand_in import House, archive, said
from rpc import spoken
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.models.registry import Wish
from torchkeeper.rpc.openinference import ENVELOPE, OpenInferenceService
from torchkeeper.rpc.schema import OPEN_INFERENCE, TORCHSERVE_OPEN_INFERENCE
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.offload import LONG
from torchkeeper.serving.operations import Operations
from torchkeeper.serving.traffic import Traffic
from torchkeeper.wire.messages import Failure, Reply
from torchkeeper.wire.raw_tensors import LENGTH_HEADER

NAMES = (OPEN_INFERENCE, TORCHSERVE_OPEN_INFERENCE)


async def unchanged() -> None: ...


def about(folder: Path, scene: Callable[[House, Any], Awaitable[None]], config: str = "") -> None:
    """Runs a scene with a registry and a client, which calls the service by both names."""

    async def main() -> None:
        house = House(folder, config)
        ask = Ask(Traffic(house.models))
        service = OpenInferenceService(
            ask, house.models, Operations(ask, house.models, house.settings, unchanged)
        )
        async with spoken.served(
            lambda calls: {name: service.handlers(calls, name) for name in NAMES}
        ) as client:
            await scene(house, client)
        await house.models.stop(1.0)

    spoken.run(main)


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_answers_lives_and_is_ready_when_its_start_up_models_are(
    tmp_path: Path, name: str
) -> None:
    async def scene(house: House, client: spoken.Client) -> None:
        archive(house.store, "m")
        assert (await client.begin(name, "ServerReady")).ready
        house.launcher.load_error = ""  # workers that never say that they have loaded
        await house.models.load_at_start(None, "m-1.0.mar")
        assert not (await client.begin(name, "ServerReady")).ready
        assert (await client.begin(name, "ServerLive")).live

    about(tmp_path, scene)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_ready_when_the_version_that_is_asked_for_has_workers(tmp_path: Path, name: str) -> None:
    async def scene(house: House, client: spoken.Client) -> None:
        for version, workers in (("1.0", 0), ("2.0", 1)):
            archive(house.store, "m", version)
            found = await house.models.register(Wish(f"m-{version}.mar", given=said(initial_workers=workers)))
            await found.pool.settled()
        for version, ready in (("", False), ("1.0", False), ("2.0", True)):
            assert (await client.begin(name, "ModelReady", name="m", version=version)).ready is ready
        assert await client.refusal(name, "ModelReady") == ("INVALID_ARGUMENT", "name is required.")
        assert await client.refusal(name, "ModelReady", name="no") == ("NOT_FOUND", "Model not found: no")
        assert (await client.refusal(name, "ModelReady", name="m", version="9"))[0] == "NOT_FOUND"

    about(tmp_path, scene)


@pytest.mark.parametrize("on", [False, True])
def test_a_server_names_the_model_repository_only_where_it_has_one(tmp_path: Path, on: bool) -> None:
    async def scene(house: House, client: spoken.Client) -> None:
        said = await client.begin(OPEN_INFERENCE, "ServerMetadata")
        assert "binary_tensor_data" in said.extensions
        assert ("model_repository" in said.extensions) is on

    about(tmp_path, scene, f"enable_model_api={on}\n".lower())


def test_what_a_model_takes_stands_in_its_configuration(tmp_path: Path) -> None:
    config = """
v2Inputs: [{name: pixels, datatype: FP32, shape: [-1, 28]}]
v2Outputs: [{name: digit, datatype: INT64, shape: [1]}]
"""

    async def scene(house: House, client: spoken.Client) -> None:
        archive(house.store, "m", config=config)
        archive(house.store, "m", "2.0")
        for version in ("1.0", "2.0"):
            await house.models.register(Wish(f"m-{version}.mar", given=said(initial_workers=0)))
        found = await client.begin(OPEN_INFERENCE, "ModelMetadata", name="m")
        assert (found.name, list(found.versions), found.platform) == ("m", ["1.0", "2.0"], "pytorch")
        tensors = [(each.name, each.datatype, list(each.shape)) for each in (*found.inputs, *found.outputs)]
        assert tensors == [("pixels", "FP32", [-1, 28]), ("digit", "INT64", [1])]
        other = await client.begin(OPEN_INFERENCE, "ModelMetadata", name="m", version="2.0")
        assert not other.inputs
        assert await client.refusal(OPEN_INFERENCE, "ModelMetadata") == (
            "INVALID_ARGUMENT",
            "name is required.",
        )

    about(tmp_path, scene)


# --- inference -------------------------------------------------------------------------------------------


def asking(
    scene: Callable[[spoken.OneModel, Callable[..., Any]], Awaitable[None]], **settings: Any
) -> Ledger:
    """Runs a scene with one model and what asks it with one tensor or another."""
    ledger = Ledger()

    async def main() -> None:
        model: Any = spoken.OneModel(**settings)
        operations: Any = None  # not asked by inference
        service = OpenInferenceService(Ask(Traffic(model)), model, operations)
        async with spoken.served(
            lambda calls: {OPEN_INFERENCE: service.handlers(calls, OPEN_INFERENCE)}, ledger
        ) as client:

            def infer(**fields: Any) -> Any:
                return client.begin(OPEN_INFERENCE, "ModelInfer", **{"model_name": "m", **fields})

            await scene(model, infer)

    spoken.run(main)
    return ledger


def tensor(*values: float, **more: Any) -> dict[str, Any]:
    contents = {"contents": {"fp32_contents": values}} if values else {}
    return {"name": "x", "datatype": "FP32", "shape": [len(values)], **contents, **more}


def envelopes(*values: float) -> Reply:
    """What the envelope answers: one raw tensor behind its head."""
    raw = struct.pack(f"<{len(values)}f", *values)
    output = {
        "name": "y",
        "datatype": "FP32",
        "shape": [len(values)],
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"model_name": "m", "model_version": "1.0", "id": "7", "outputs": [output]}).encode()
    return Reply(head + raw, headers={LENGTH_HEADER: str(len(head))})


def test_typed_tensors_reach_the_envelope_as_rests_body_and_come_back_typed() -> None:
    async def scene(model: spoken.OneModel, infer: Any) -> None:
        call = infer(id="7", inputs=[tensor(0.5, -1.0)])
        request = await model.asked()
        (part,) = request.parts
        length = int(request.headers[LENGTH_HEADER])
        head, raw = json.loads(bytes(part.value)[:length]), bytes(part.value)[length:]
        assert (request.envelope, part.name, head["id"]) == (ENVELOPE, "body", "7")
        assert (head["inputs"][0]["name"], raw) == ("x", struct.pack("<2f", 0.5, -1.0))
        model.reply(envelopes(0.25))
        answer = await call
        (output,) = answer.outputs
        assert (answer.id, output.name, list(output.contents.fp32_contents)) == ("7", "y", [0.25])
        assert not answer.raw_output_contents

    ledger = asking(scene)
    assert (ledger.accepted, ledger.answered) == (1, 1)


def test_raw_tensors_come_back_raw() -> None:
    async def scene(model: spoken.OneModel, infer: Any) -> None:
        call = infer(inputs=[tensor(shape=[1])], raw_input_contents=[struct.pack("<f", 0.5)])
        await model.asked()
        model.reply(envelopes(0.25))
        answer = await call
        assert list(answer.raw_output_contents) == [struct.pack("<f", 0.25)]
        assert not answer.outputs[0].HasField("contents")

    asking(scene)


def test_long_tensors_go_through_whole() -> None:
    values = [float(number) for number in range(LONG // 2)]

    async def scene(model: spoken.OneModel, infer: Any) -> None:
        call = infer(inputs=[tensor(*values)])
        await model.asked()
        model.reply(envelopes(*values))
        assert list((await call).outputs[0].contents.fp32_contents) == values

    asking(scene)


@pytest.mark.parametrize(
    ("fields", "code", "details"),
    [
        ({"model_name": ""}, "INVALID_ARGUMENT", "model_name is required."),
        # A model that is not here is said before what is wrong with its tensors.
        ({"model_name": "no", "inputs": [tensor(1.0, datatype="??")]}, "NOT_FOUND", "Model not found: no"),
        ({"model_version": "9"}, "NOT_FOUND", "Model version: 9 does not exist for model: m"),
        (
            {"inputs": [tensor(1.0, datatype="INT8")]},
            "INVALID_ARGUMENT",
            "inputs[0] (x): INT8 has its values in int_contents, not in fp32_contents.",
        ),
    ],
)
def test_what_no_model_could_answer_is_refused(fields: dict[str, Any], code: str, details: str) -> None:
    async def scene(model: spoken.OneModel, infer: Any) -> None:
        call = infer(**fields)
        assert ((await call.code()).name, await call.details()) == (code, details)

    assert asking(scene).refused == 1


@pytest.mark.parametrize(
    ("given", "code", "details", "heading"),
    [
        (Reply(b"no picture", 400), "INVALID_ARGUMENT", "no picture", "answered"),
        (Failure(503, "Prediction failed", "why"), "INTERNAL", "Prediction failed: why", "failed"),
        (Reply(b"no JSON"), "INTERNAL", "The model's answer is no infer response: ", "failed"),
    ],
)
def test_what_the_model_does_not_answer_well(
    given: Reply | Failure, code: str, details: str, heading: str
) -> None:
    async def scene(model: spoken.OneModel, infer: Any) -> None:
        call = infer(inputs=[tensor(1.0)])
        await model.asked()
        if isinstance(given, Reply):
            model.reply(given)
        else:
            model.dispatching.answer(given)
        assert (await call.code()).name == code
        assert (await call.details()).startswith(details)

    assert getattr(asking(scene), heading) == 1


def test_a_client_that_leaves_takes_its_request_back() -> None:
    async def scene(model: spoken.OneModel, infer: Any) -> None:
        call = infer(inputs=[tensor(1.0)])
        await model.asked()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    assert asking(scene).gone == 1


@pytest.mark.parametrize("raw", [False, True])
def test_tensors_say_what_requests_cost_and_who_shares_a_batch(raw: bool) -> None:
    def fields(size: int) -> dict[str, Any]:
        if not raw:
            return {"inputs": [tensor(*[0.5] * size)]}
        return {"inputs": [tensor(shape=[size])], "raw_input_contents": [bytes(4 * size)]}

    async def scene(model: spoken.OneModel, infer: Any) -> None:
        dispatcher = model.dispatching.dispatcher
        calls = [infer(**fields(1))]
        await model.asked()
        for number, size in enumerate((2, 3, 2, 2)):
            calls.append(infer(**fields(size)))
            await until(lambda number=number: dispatcher.waiting > number)
        for number, count in enumerate((1, 2, 1, 1), 1):
            await model.asked(number)
            assert len(model.dispatching.channel().batches[number - 1][1]) == count
            model.dispatching.answer()
        for call in calls:
            assert (await call.code()).name == "INTERNAL", "the stand-in answers no tensors"
        refused = infer(inputs=[tensor(0.5, shape=[-1])])
        assert (await refused.code()).name == "INVALID_ARGUMENT"
        assert "must say all sizes" in await refused.details()

    asking(scene, batch_size=4, batch_cost="elements", max_batch_cost=4.0, batch_by="shape")
