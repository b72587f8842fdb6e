"""What a payload looks like."""

import msgpack
import pytest

from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.seam import Member, MemberChange
from flash_pubsub.errors import UnsupportedEnvelope


@pytest.mark.parametrize(
    "data", [None, 1, "ä", [1, {"a": [2.5, None]}], {"t": 1, "p": 2.0}, b"", b"\x00\xff"]
)
def test_data_comes_out_as_it_went_in(data):
    envelope = Envelope.of(data)
    read = Envelope.unpack(envelope.pack())
    assert read == envelope
    assert read.data == data


def test_every_message_has_its_own_id_and_a_time():
    one, two = Envelope.of(1), Envelope.of(1)
    assert one.id != two.id
    assert two.time >= one.time > 1.7e9


def test_extras_travel():
    envelope = Envelope("call", b"", extras={"from": "page", "n": [1, 2]})
    assert Envelope.unpack(envelope.pack()).extras == {"from": "page", "n": [1, 2]}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b'{"json": 1}', "not msgpack|no envelope"),
        (msgpack.packb([2, "json", "id", 0.0, b"1", {}]), "version 2, and .* reads version 1"),
        (
            msgpack.packb([1, "json", "id", 0.0]),
            "^unreadable message: it is no envelope of flash-pubsub$",
        ),
        (
            msgpack.packb([1, "json", "id", 0.0, "text", {}]),
            "^unreadable message: it is no envelope of flash-pubsub$",
        ),
        (msgpack.packb({"a": 1}), "^unreadable message: it is no envelope of flash-pubsub$"),
    ],
)
def test_what_it_cannot_read_is_refused_in_one_line(payload, reason):
    with pytest.raises(UnsupportedEnvelope, match=reason) as refused:
        Envelope.unpack(payload)
    assert "\n" not in str(refused.value)


def test_a_message_that_is_no_users_has_no_data():
    with pytest.raises(UnsupportedEnvelope, match="'frame'"):
        _ = Envelope("frame", b"{}").data
    with pytest.raises(UnsupportedEnvelope, match="not JSON"):
        _ = Envelope("json", b"{").data


def test_a_member_change_comes_out_as_it_went_in():
    change = MemberChange("expired", Member("ann ä", b"\xff"))
    assert MemberChange.unpack(change.pack()) == change
    with pytest.raises(UnsupportedEnvelope):
        MemberChange.unpack(b"\xc1")
    with pytest.raises(UnsupportedEnvelope, match="version 2"):
        MemberChange.unpack(msgpack.packb([2]))
