"""What becomes of the requests of a lost worker."""

from __future__ import annotations

import asyncio

import pytest

from torchkeeper.engine.queue import Entry
from torchkeeper.engine.retry import Fate, fate_of
from torchkeeper.engine.stream import Stream
from torchkeeper.pool.worker import Loss
from torchkeeper.wire.messages import Input, Kind, Reply

DEATH = Loss("exit code 7", killed=False, timed_out=False, crashed=True)
KILLED = Loss("SIGKILL", killed=True, timed_out=False)
HANG = Loss("no answer in time", killed=True, timed_out=True)


def entry(*, retried: bool = False, crashed: bool = False, streams: bool = False) -> Entry:
    found = Entry(
        Input("1", Kind.PREDICT, (), {}),
        asyncio.Future(loop=asyncio.new_event_loop()),
        0.0,
        0,
        "lane",
        retried=retried,
        crashed=crashed,
        in_parts=streams,
    )
    found.ticket.get_loop().close()
    return found


@pytest.mark.parametrize(
    ("loss", "retried", "allowed", "anybody", "fate"),
    [
        (DEATH, False, True, True, Fate.AGAIN),
        (KILLED, False, True, True, Fate.AGAIN),
        (HANG, False, True, True, Fate.FAILS),
        (DEATH, True, True, True, Fate.QUARANTINED),
        (KILLED, True, True, True, Fate.FAILS),
        (HANG, True, True, True, Fate.FAILS),
        (DEATH, False, False, True, Fate.FAILS),
        (DEATH, False, True, False, Fate.FAILS),
        (DEATH, True, True, False, Fate.QUARANTINED),
    ],
    ids=[
        *("died", "was killed", "took too long", "ended two", "killed twice", "took too long then"),
        *("not allowed", "nobody to send it to", "ended two, and nobody is left"),
    ],
)
def test_once_where_it_helps(loss: Loss, retried: bool, allowed: bool, anybody: bool, fate: Fate) -> None:
    found = entry(retried=retried, crashed=retried)
    assert fate_of(found, loss, allowed=allowed, anybody=anybody) is fate


def test_who_was_in_the_hands_of_a_worker_that_others_ended_has_ended_one_at_most() -> None:
    found = entry()
    assert fate_of(found, KILLED, allowed=True, anybody=True) is Fate.AGAIN
    found.begin_again(crashed=KILLED.crashed)
    assert fate_of(found, DEATH, allowed=True, anybody=True) is Fate.FAILS


def test_a_stream_is_sent_again_until_its_client_has_seen_a_part() -> None:
    found = entry(streams=True)
    assert fate_of(found, DEATH, allowed=True, anybody=True) is Fate.AGAIN
    found.stream = Stream(Reply(b"a part"))
    assert fate_of(found, DEATH, allowed=True, anybody=True) is Fate.FAILS


def test_parts_that_wait_to_be_joined_were_seen_by_nobody() -> None:
    found = entry()
    found.add(Reply(b"a part"))
    assert fate_of(found, DEATH, allowed=True, anybody=True) is Fate.AGAIN
