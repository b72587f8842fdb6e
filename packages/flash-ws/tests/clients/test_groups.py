"""Connections under one name."""

import asyncio
import gc

import pytest

from flash_ws.clients.groups import ConnectionGroup, Groups


class Member:
    """Takes everything, or nothing."""

    def __init__(self, takes=True):
        self.takes = takes
        self.got = []

    def offer(self, event, size):
        if self.takes:
            self.got.append((event, size))
        return self.takes


@pytest.fixture
def groups():
    return Groups()


async def test_a_message_is_written_as_json_once_for_all_members(groups, monkeypatch):
    members = [Member() for _ in range(50)]
    for member in members:
        groups.add("desk", member)
    written = []
    monkeypatch.setattr("flash_ws.link.writer.dumps", lambda value: written.append(value) or b"[1]")

    assert await groups["desk"].send([1]) == 50
    assert written == [[1]]
    events = {id(event) for member in members for event, _ in member.got}
    assert len(events) == 1
    assert members[0].got == [({"type": "websocket.send", "text": "[1]"}, 3)]


async def test_text_and_bytes_are_sent_as_they_are_and_counted_in_bytes(groups):
    member = Member()
    groups.add("desk", member)
    await groups["desk"].send("äö")
    await groups["desk"].send(bytearray(b"\x00\x01\x02"))
    assert member.got == [
        ({"type": "websocket.send", "text": "äö"}, 4),
        ({"type": "websocket.send", "bytes": b"\x00\x01\x02"}, 3),
    ]


async def test_what_cannot_be_sent_raises_before_anybody_gets_it(groups):
    member = Member()
    groups.add("desk", member)
    with pytest.raises(TypeError):
        await groups["desk"].send(object())
    with pytest.raises(UnicodeEncodeError):
        await groups["desk"].send("half a pair: \ud83d")
    with pytest.raises(UnicodeEncodeError):
        groups["desk"].send_threadsafe("\ud83d")
    assert member.got == []


async def test_one_that_takes_nothing_is_not_counted_and_hurts_nobody(groups):
    stalled, well = Member(takes=False), Member()
    groups.add("desk", stalled)
    groups.add("desk", well)
    assert await groups["desk"].send("x") == 1
    assert len(well.got) == 1


async def test_the_sender_can_be_left_out(groups):
    sender, other = Member(), Member()
    for member in (sender, other):
        groups.add("desk", member)
    assert await groups["desk"].send("x", exclude=sender) == 1
    assert sender.got == []


async def test_two_objects_of_one_name_are_one_group_and_joining_twice_counts_once(groups):
    member = Member()
    groups.add("desk", member)
    groups.add("desk", member)
    first, second = groups["desk"], ConnectionGroup(groups, "desk")
    assert len(first) == len(second) == 1
    assert list(second) == [member]
    assert member in first
    assert repr(first) == "<ConnectionGroup 'desk' of 1>"
    assert await first.send("x") == 1


async def test_a_group_without_members_takes_no_memory(groups):
    member = Member()
    for number in range(100):
        groups.add(f"room {number}", member)
        groups.discard(f"room {number}", member)
        groups.discard(f"room {number}", member)
    gc.collect()
    assert groups.names() == ()
    assert await groups["room 1"].send("x") == 0


async def test_messages_from_threads_arrive_in_the_order_of_each_thread(groups, until):
    member = Member()
    groups.add("desk", member)

    def talk(name):
        for number in range(50):
            groups["desk"].send_threadsafe(f"{name}{number}")

    await asyncio.gather(asyncio.to_thread(talk, "a"), asyncio.to_thread(talk, "b"))
    await until(lambda: len(member.got) == 100)
    texts = [event["text"] for event, _ in member.got]
    for name in "ab":
        assert [t for t in texts if t[0] == name] == [f"{name}{number}" for number in range(50)]


def test_a_thread_may_send_to_a_group_that_never_had_a_member(groups):
    groups["desk"].send_threadsafe("x")
