"""Which requests of a lost worker are sent again."""

from __future__ import annotations

import asyncio

import pytest

from torchkeeper.engine.queue import Entry
from torchkeeper.engine.retry import is_sent_again
from torchkeeper.engine.stream import Stream
from torchkeeper.pool.worker import Loss
from torchkeeper.wire.messages import Input, Kind, Reply

DEATH = Loss("exit code 7", killed=False, timed_out=False)
KILLED = Loss("SIGKILL", killed=True, timed_out=False)
HANG = Loss("no answer in time", killed=True, timed_out=True)


def entry(*, retried: bool = False, streams: bool = False) -> Entry:
    found = Entry(
        Input("1", Kind.PREDICT, (), {}),
        asyncio.Future(loop=asyncio.new_event_loop()),
        0.0,
        0,
        "lane",
        retried=retried,
        in_parts=streams,
    )
    found.ticket.get_loop().close()
    return found


@pytest.mark.parametrize(
    ("loss", "retried", "allowed", "anybody", "again"),
    [
        (DEATH, False, True, True, True),
        (KILLED, False, True, True, True),
        (HANG, False, True, True, False),
        (DEATH, True, True, True, False),
        (DEATH, False, False, True, False),
        (DEATH, False, True, False, False),
    ],
    ids=["died", "was killed", "took too long", "twice", "not allowed", "nobody to send it to"],
)
def test_once_where_it_helps(loss: Loss, retried: bool, allowed: bool, anybody: bool, again: bool) -> None:
    assert is_sent_again(entry(retried=retried), loss, allowed=allowed, anybody=anybody) is again


def test_a_stream_is_sent_again_until_its_client_has_seen_a_part() -> None:
    found = entry(streams=True)
    assert is_sent_again(found, DEATH, allowed=True, anybody=True)
    found.stream = Stream(Reply(b"a part"))
    assert not is_sent_again(found, DEATH, allowed=True, anybody=True)


def test_parts_that_wait_to_be_joined_were_seen_by_nobody() -> None:
    found = entry()
    found.add(Reply(b"a part"))
    assert is_sent_again(found, DEATH, allowed=True, anybody=True)
