"""Request ids: a UUID's form, never twice, whoever makes them."""

from __future__ import annotations

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

from torchkeeper.serving.request_id import new_request_id


def test_an_id_is_a_random_uuid_in_its_usual_form() -> None:
    made = new_request_id()
    found = uuid.UUID(made)
    assert str(found) == made
    assert (found.version, found.variant) == (4, uuid.RFC_4122)


def test_no_id_comes_twice_also_from_threads() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: [new_request_id() for _ in range(500)], range(4)))
    assert len({one for some in made for one in some}) == 2000


def test_ids_of_one_server_follow_each_other() -> None:
    first, second = (uuid.UUID(new_request_id()) for _ in range(2))
    assert second.int == first.int + 1


def test_another_server_has_other_ids() -> None:
    code = "from torchkeeper.serving.request_id import new_request_id; print(new_request_id())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other[:24] != new_request_id()[:24]
