"""Every setting of every public signature is checked where it is given."""

import inspect
import typing

import dash
import pytest

import flash
import flash_lazy
import flash_pubsub
import flash_ws
from flash import ConfigurationError, Flash, Input, Output
from flash_ws.endpoints.websocket import Heartbeat

GENERATORS = ("feeder", "event_callback", "sse")


def pubsub():
    return flash_pubsub.PubSub(Flash(__name__))


def bound(owner, name, *arguments):
    """Return a method whose first arguments are given."""

    def take(**settings):
        decorate = getattr(owner(), name)(*arguments, **settings)
        if callable(decorate):

            async def generator(*_):
                yield None

            def plain(*_):
                return None

            decorate(generator if name in GENERATORS else plain)

    return take, getattr(type(owner()), name)


PUBLIC = {
    "Flash": (Flash, Flash.__init__),
    "AsyncManager": (flash.AsyncManager, flash.AsyncManager.__init__),
    "RedisManager": (
        lambda **settings: flash.RedisManager("redis://127.0.0.1:1", **settings),
        flash.RedisManager.__init__,
    ),
    "Live": (flash_ws.Live, flash_ws.Live.__init__),
    "LinkLimits": (flash_ws.LinkLimits, flash_ws.LinkLimits.__init__),
    "RateLimit": (
        lambda **settings: flash_ws.RateLimit(**{"per_second": 1, "burst": 1, **settings}),
        flash_ws.RateLimit.__init__,
    ),
    "ConnectionLimits": (flash_ws.ConnectionLimits, flash_ws.ConnectionLimits.__init__),
    "Heartbeat": (Heartbeat, Heartbeat.__init__),
    "Endpoints": (flash_ws.Endpoints, flash_ws.Endpoints.__init__),
    "websocket": bound(lambda: flash_ws.Endpoints(Flash(__name__)), "websocket", "/ws"),
    "sse": bound(lambda: flash_ws.Endpoints(Flash(__name__)), "sse", "/sse"),
    "event_callback": bound(
        lambda: flash_ws.Live(Flash(__name__)), "event_callback", Input("a", "b")
    ),
    "on_event": bound(lambda: flash_ws.Live(Flash(__name__)), "on_event", "ping"),
    "PubSub": (flash_pubsub.PubSub, flash_pubsub.PubSub.__init__),
    "shared_callback": bound(pubsub, "shared_callback", Output("a", "b"), Input("c", "d")),
    "channel": bound(pubsub, "channel", "prices"),
    "channel_callback": bound(pubsub, "channel_callback", "prices", Output("a", "b")),
    "feeder": bound(pubsub, "feeder", "prices"),
    "Present": (
        lambda **settings: flash_pubsub.Present("desk/7", **settings),
        flash_pubsub.Present.__init__,
    ),
    "table": (
        lambda **settings: pubsub().table("orders", key="id", columns=["id"], **settings),
        flash_pubsub.PubSub.table,
    ),
    "TableFeed": (
        lambda **settings: flash_pubsub.TableFeed("orders", graph="g", x="a", y="b", **settings),
        flash_pubsub.TableFeed.__init__,
    ),
    "Retention": (flash_pubsub.Retention, flash_pubsub.Retention.__init__),
    "MemoryBroker": (flash_pubsub.MemoryBroker, flash_pubsub.MemoryBroker.__init__),
    "RedisBroker": (
        lambda **settings: flash_pubsub.RedisBroker("redis://127.0.0.1:1", **settings),
        flash_pubsub.RedisBroker.__init__,
    ),
    "lazy": (
        lambda **settings: flash_lazy.lazy(**settings)(lambda: None),
        flash_lazy.lazy,
    ),
    "LazyLoad": (flash_lazy.LazyLoad, flash_lazy.LazyLoad.__init__),
    "Skeleton": (flash_lazy.Skeleton, flash_lazy.Skeleton.__init__),
    "configure": (
        lambda **settings: flash_lazy.configure(Flash(__name__), **settings),
        flash_lazy.configure,
    ),
    "MemoryCache": (flash_lazy.MemoryCache, flash_lazy.MemoryCache.__init__),
    "RedisCache": (
        lambda **settings: flash_lazy.RedisCache("redis://127.0.0.1:1", **settings),
        flash_lazy.RedisCache.__init__,
    ),
}
NAN = float("nan")


def wrong_values(annotation):
    """Return values that are wrong for a setting of this type."""
    text = str(annotation).replace("float", "number").replace("int", "number")
    parts = {part.strip() for part in text.split("|")}
    if "number" in parts:
        wrong = [-1, NAN]
        return wrong if "bool" in parts else [*wrong, [5]]
    if parts == {"bool"}:
        return ["yes", 5]
    if "When" in parts:
        return ["hover"]
    if "Mode" in parts:
        return ["both"]
    if "Size" in parts:
        return [-1, NAN, [5]]
    if "Bind" in parts:
        return ["user", 5]
    return []


# What the installed Dash does not know is refused with any value.
UNKNOWN = {
    name
    for name in ("stream_keepalive_interval", "stream_poll_interval")
    if name not in inspect.signature(dash.Dash.__init__).parameters
}

CASES = [
    (name, parameter.name, value)
    for name, (_, signature) in PUBLIC.items()
    for parameter in inspect.signature(signature).parameters.values()
    for value in wrong_values(parameter.annotation)
]


@pytest.mark.parametrize(("name", "setting", "value"), CASES)
def test_11_15_a_wrong_value_is_refused_where_it_is_given(name, setting, value):
    take = PUBLIC[name][0]
    with pytest.raises(ConfigurationError) as refused:
        take(**{setting: value})
    if setting in UNKNOWN:
        assert f"{setting}=… needs Dash" in str(refused.value)
    else:
        assert f"{setting}={value!r}: must be" in str(refused.value)
    assert "test_settings_checked.py:" in str(refused.value)


def test_11_15_enough_is_checked():
    assert len({(name, setting) for name, setting, _ in CASES}) > 80


def test_11_15_no_public_class_or_decorator_with_numbers_is_left_out():
    """A new public name with settings has to be added above, or here with a reason."""
    without_settings = {
        "BadRequest": "an error",
        "Overloaded": "an error",
        "LoadersBusy": "an error",
        "LoaderTimeout": "an error",
        "CallbackTimeout": "an error",
        "Refused": "an error",
        "PayloadTooLarge": "an error",
        "Dash": "Flash itself",
        "LazyPanel": "LazyLoad",
        "callback": "flash-core's own tests",
        "Disconnect": "what Live sends to backplanes",
        "Metric": "what an app reports",
        "ServerSentEvent": "what an app sends",
        "LinkStatus": "what a page reports",
        "Entry": "what a cache holds",
        "Status": "what a broker reports",
        "Position": "what a broker reports",
    }
    left = []
    for package in (flash, flash_ws, flash_pubsub, flash_lazy):
        for name in package.__all__:
            exported = getattr(package, name)
            if not str(getattr(exported, "__module__", "")).startswith("flash"):
                continue
            if not callable(exported) or name in PUBLIC or name in without_settings:
                continue
            if name.endswith("Statistics") or getattr(exported, "_is_protocol", False):
                continue
            try:
                parameters = inspect.signature(exported).parameters.values()
            except ValueError:
                continue
            found = [
                each.name
                for each in parameters
                if each.default is not each.empty and wrong_values(each.annotation)
            ]
            if found and not isinstance(exported, typing.NewType):
                left.append((name, found))
    assert left == []


def test_11_15_a_misspelt_setting_names_the_right_one():
    with pytest.raises(ConfigurationError, match=r"'cahce'; did you mean 'cache'"):
        flash_lazy.lazy(cahce=60)
    with pytest.raises(ConfigurationError, match=r"'hieght'; did you mean 'height'"):
        flash_lazy.LazyLoad(hieght=60)


@pytest.mark.parametrize("value", [0, 0.01])
def test_11_15_a_panel_does_not_refresh_all_the_time(value):
    with pytest.raises(ConfigurationError, match="refresh_every"):
        flash_lazy.lazy(refresh_every=value)


def test_11_15_a_generator_is_no_loader():
    with pytest.raises(ConfigurationError, match=r"is a generator.*test_settings_checked\.py:\d+"):

        @flash_lazy.lazy
        def panel():
            yield "a part"

    with pytest.raises(ConfigurationError, match="is a generator"):

        @flash_lazy.lazy(cache=5)
        async def other():
            yield "a part"
