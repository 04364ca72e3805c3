"""Keys are renewed under load: who has the new one is served, the old one opens nothing, nobody is lost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from scene import server_of  # type: ignore[import-not-found]

pytestmark = pytest.mark.slow

#: Below what slows guesses down, even if each client tries each old key once.
ROTATIONS, CLIENTS = 4, 2


def bearing(folder: Path, name: str) -> dict[str, str]:
    """The header with the key of that name as the file has it now."""
    key = json.loads((folder / "key_file.json").read_text())[name]["key"]
    return {"Authorization": f"Bearer {key}"}


def test_keys_are_renewed_while_they_are_used(tmp_path: Path) -> None:
    server = server_of(tmp_path, flags=())
    over = asyncio.Event()
    answered, refused = 0, 0

    async def client() -> None:
        nonlocal answered, refused
        key = bearing(tmp_path, "inference")
        async with httpx.AsyncClient(base_url=server.client.base_url, timeout=60) as http:
            while not over.is_set():
                body = f"number {answered}"
                answer = await http.post("/predictions/echo", content=body, headers=key)
                if answer.status_code == 200:
                    assert answer.text == body
                    answered += 1
                else:
                    assert answer.json()["type"] == "InvalidKeyException", answer.text
                    assert key != bearing(tmp_path, "inference"), "the key in the file opens"
                    refused += 1
                    key = bearing(tmp_path, "inference")

    async def run() -> None:
        clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
        async with httpx.AsyncClient(base_url=server.manage.base_url, timeout=60) as manage:
            for _ in range(ROTATIONS):
                seen = answered
                while answered < seen + 20:
                    assert not any(task.done() for task in clients), "a client has given up"
                    await asyncio.sleep(0.01)
                old = bearing(tmp_path, "inference")
                renewed = await manage.get("/token?type=inference", headers=bearing(tmp_path, "API"))
                assert renewed.status_code == 200, renewed.text
                assert bearing(tmp_path, "inference") != old
        over.set()
        await asyncio.gather(*clients)

    asyncio.run(run())
    assert 0 < refused <= ROTATIONS * CLIENTS
    ledger = server.stop()
    assert (ledger["failed"], ledger["gone"], ledger["refused"]) == (0, 0, refused)
