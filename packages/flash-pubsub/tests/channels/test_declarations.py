"""Channels as an app declares them: patterns, settings, outputs, what a store is told of them."""

from functools import partial

import msgpack
import pytest

from flash import ALL, ConfigurationError, Output, no_update
from flash_pubsub import PubSub
from flash_pubsub.broker.seam import DEFAULT_RETENTION
from flash_pubsub.channels.declaration import (
    ChannelCallback,
    ChannelPattern,
    ChannelSettings,
    Declarations,
    check_name,
)
from flash_pubsub.channels.outputs import Outputs
from flash_pubsub.channels.retention import RetentionRules
from flash_pubsub.errors import InvalidChannel, UnsupportedEnvelope

# -- patterns


@pytest.mark.parametrize(
    ("pattern", "channel", "variables"),
    [
        ("prices", "prices", {}),
        ("prices", "prices/eu", None),
        ("prices", "my prices", None),
        ("room/{room}", "room/7", {"room": "7"}),
        ("room/{room}", "room/a b", {"room": "a b"}),
        ("room/{room}", "room/", None),
        ("room/{room}", "room/7/8", None),
        ("room/{room}", "rooms/7", None),
        ("{a}.{b}/x", "1.2/x", {"a": "1", "b": "2"}),
        ("a.c", "abc", None),
        ("{_x1}", "y", {"_x1": "y"}),
    ],
)
def test_a_pattern_stands_for_names_without_further_slashes(pattern, channel, variables):
    assert ChannelPattern(pattern).match(channel) == variables


def test_a_pattern_without_variables_is_one_channel():
    assert ChannelPattern("prices").is_single
    assert ChannelPattern("room/{room}").variables == ("room",)
    assert not ChannelPattern("room/{room}").is_single


def test_a_name_of_the_longest_kind_matches_and_a_longer_one_never():
    pattern = ChannelPattern("{name}")
    assert pattern.match("x" * 256) is not None or pattern.match("x" * 200) is not None
    longest = max(size for size in range(1, 2000) if pattern.match("x" * size) is not None)
    assert pattern.match("é" * (longest // 2)) is not None
    assert pattern.match("é" * (longest // 2 + 1)) is None
    with pytest.raises(InvalidChannel):
        check_name("x" * (longest + 1))
    check_name("x" * longest)


def test_a_variable_is_named_once():
    with pytest.raises(ConfigurationError, match=r"'\{a\}/\{a\}' has a variable twice"):
        ChannelPattern("{a}/{a}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("live:x", "names that begin with 'live:' are reserved by Flash"),
        ("who:x", "names that begin with 'who:' are reserved by Flash"),
        ("", "channel"),
        ("live:{x}", "names that begin with 'live:' are reserved by Flash"),
    ],
)
def test_names_of_flashs_own_and_no_name_are_refused(name, reason):
    with pytest.raises(InvalidChannel):
        ChannelPattern(name)
    with pytest.raises(InvalidChannel, match=reason) as refused:
        check_name(name)
    assert refused.value.channel == name


def test_a_name_that_only_resembles_one_of_flashs_own_is_free():
    for name in ("lives", "alive:x", "who", "live"):
        check_name(name)


# -- settings and callbacks


def callback(pattern, function=len):
    return ChannelCallback(ChannelPattern(pattern), Outputs((), False), function, once=False)


def test_of_several_settings_that_fit_the_first_counts_and_without_any_the_defaults():
    declarations = Declarations()
    first, second = ChannelSettings(history=1), ChannelSettings(history=2)
    declarations.configure(ChannelPattern("room/{room}"), first)
    declarations.configure(ChannelPattern("room/{x}"), second)
    declarations.configure(ChannelPattern("prices"), second)
    assert declarations.settings("room/7") is first
    assert declarations.settings("prices") is second
    assert declarations.settings("other") == ChannelSettings()
    assert [pattern.text for pattern, _ in declarations.configured] == [
        "room/{room}",
        "room/{x}",
        "prices",
    ]


def test_the_settings_of_a_pattern_are_given_once():
    declarations = Declarations()
    declarations.configure(ChannelPattern("prices"), ChannelSettings())
    with pytest.raises(ConfigurationError, match="'prices' has settings already"):
        declarations.configure(ChannelPattern("prices"), ChannelSettings(history=1))


def test_an_app_that_declares_nothing_has_nothing():
    declarations = Declarations()
    assert declarations.callbacks == declarations.guards == []
    assert declarations.configured == ()
    assert declarations.matching("prices") == declarations.single_channels() == []


def test_the_callbacks_of_a_channel_come_in_the_order_of_their_declaration():
    declarations = Declarations()
    declarations.callbacks += [callback("{all}"), callback("prices"), callback("room/{room}")]
    matched = declarations.matching("prices")
    assert [each.callback.pattern.text for each in matched] == ["{all}", "prices"]
    assert [each.variables for each in matched] == [{"all": "prices"}, {}]
    assert declarations.matching("room/7/8") == []


def test_what_runs_once_needs_a_history_in_its_own_channel_whichever_is_declared_first():
    def once(pattern):
        return ChannelCallback(ChannelPattern(pattern), Outputs((), False), len, once=True)

    declarations = Declarations()
    declarations.configure(ChannelPattern("quick/{name}"), ChannelSettings(history=0))
    fitting = [once("jobs/{name}"), callback("quick/{name}")]
    for each in fitting:
        declarations.add(each)
    assert declarations.callbacks == fitting
    with pytest.raises(
        ConfigurationError, match=r"'quick/\{name\}' has history=0: .*; give the channel"
    ):
        declarations.add(once("quick/{name}"))
    declarations = Declarations()
    declarations.add(once("jobs/{name}"))
    with pytest.raises(ConfigurationError, match=r"'builtins.len:jobs/\{name\}' has once=True"):
        declarations.configure(ChannelPattern("jobs/{name}"), ChannelSettings(history=0))


def test_every_page_follows_each_channel_without_variables_once():
    declarations = Declarations()
    declarations.callbacks += [callback("b"), callback("{x}"), callback("a"), callback("b", max)]
    assert declarations.single_channels() == ["b", "a"]


def test_two_functions_or_two_channels_are_two_callbacks_to_other_workers():
    names = {each.name for each in (callback("a"), callback("b"), callback("a", max))}
    assert names == {"builtins.len:a", "builtins.len:b", "builtins.max:a"}


# -- outputs

ONE, OTHER = Output("a", "children"), Output("b", "value")


@pytest.mark.parametrize(
    ("declared", "result", "updates"),
    [
        ([ONE], 1, [("a", {"children": 1})]),
        ([ONE], [1, 2], [("a", {"children": [1, 2]})]),
        ([ONE], None, [("a", {"children": None})]),
        ([[ONE]], [1], [("a", {"children": 1})]),
        ([ONE, OTHER], (1, 2), [("a", {"children": 1}), ("b", {"value": 2})]),
        ([[ONE, OTHER]], [1, no_update], [("a", {"children": 1})]),
        ([ONE, (OTHER,)], [no_update, 2], [("b", {"value": 2})]),
        ([ONE], no_update, []),
        ([ONE, OTHER], no_update, []),
        ([], None, []),
        ([], no_update, []),
    ],
)
def test_what_a_function_returns_goes_to_its_outputs(declared, result, updates):
    assert Outputs.of(declared, "f").updates(result, "f") == updates


@pytest.mark.parametrize(
    ("declared", "result", "reason"),
    [
        ([], 1, "f has no Output and returned 1"),
        ([ONE, OTHER], 1, "f has several Outputs and returned 1; return a list with one value"),
        ([ONE, OTHER], "ab", "f has several Outputs and .*; return a list with one value for each"),
        ([ONE, OTHER], [1], "f has 2 Outputs and returned 1 values"),
        ([ONE, OTHER], [1, 2, 3], "f has 2 Outputs and returned 3 values"),
        ([[ONE]], [], "f has 1 Outputs and returned 0 values"),
    ],
)
def test_a_result_that_does_not_fit_names_the_function_and_the_result(declared, result, reason):
    with pytest.raises(ValueError, match=reason):
        Outputs.of(declared, "f").updates(result, "f")


def test_only_outputs_of_one_component_are_outputs_of_a_channel():
    with pytest.raises(ConfigurationError, match=r"f: 'a\.children' "):
        Outputs.of([ONE, "a.children"], "f")
    with pytest.raises(ConfigurationError, match=r"f: .* wildcard.*the same on every page; name"):
        Outputs.of([ONE, Output({"type": "x", "index": ALL}, "value")], "f")


# -- what the store is told of them


def rules(*settings):
    return RetentionRules.of([(ChannelPattern(text), each) for text, each in settings])


def test_rules_come_out_of_the_store_as_they_went_in_and_the_first_that_fits_counts():
    told = rules(
        ("room/{room}", ChannelSettings(history=5, max_age=7.0)),
        ("room/7", ChannelSettings(history=1)),
    )
    read = RetentionRules.unpack(told.pack())
    assert read == told
    retention = read.retention("room/7")
    assert (retention.max_messages, retention.max_age) == (5, 7.0)
    assert read.retention("prices") == DEFAULT_RETENTION
    assert rules() == RetentionRules()


def test_rules_of_another_version_are_refused_with_both_versions_named():
    with pytest.raises(UnsupportedEnvelope, match=r"version 2.* 1"):
        RetentionRules.unpack(msgpack.packb([2, []]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgpack.packb(5),
        msgpack.packb([1]),
        msgpack.packb([1, 5]),
        msgpack.packb([1, [["a"]]]),
        msgpack.packb([1, [["", 1, 1.0]]]),
        msgpack.packb([1, [["{a}/{a}", 1, 1.0]]]),
        msgpack.packb([1, [[5, 1, 1.0]]]),
    ],
)
def test_what_are_no_rules_is_refused(data):
    with pytest.raises(UnsupportedEnvelope, match="these are no retention rules of channels"):
        RetentionRules.unpack(data)


@pytest.mark.parametrize("declare", ["channel_callback", "authorize", "on_join", "on_leave"])
def test_a_function_that_does_not_take_the_variables_is_refused_where_it_is_declared(declare):
    pubsub = PubSub(broker="memory://")
    outputs = [Output("a", "children")] if declare == "channel_callback" else []
    decorate = getattr(pubsub, declare)("room/{room}", *outputs)
    with pytest.raises(ConfigurationError, match=r"without_room \(.*test_declarations.py:\d+\) is"):

        @decorate
        def without_room(message): ...

    with pytest.raises(ConfigurationError, match="does not take that"):
        decorate(lambda message, rooms: None)
    for taking in (
        lambda message, room: None,
        lambda message, *, room: None,
        lambda message, **variables: None,
        partial(lambda extra, message, room: None, 1),
    ):
        decorate(taking)
