"""The checks of settings, and that every public signature makes them."""

import re
from contextlib import suppress

import pytest
from dash import Input, Output

import flash
from flash import ConfigurationError, Flash
from flash.settings import (
    AMOUNT,
    COUNT,
    FLAG,
    SECONDS,
    SECONDS_OR_NONE,
    Choice,
    Function,
    Number,
    check,
    check_names,
    check_spelling,
)


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        (COUNT, [1, 10**9], [0, -1, True, 1.0, "5", None, float("nan")]),
        (AMOUNT, [0, 1], [-1, False, 0.5, None]),
        (SECONDS, [1, 0.001], [0, -1, "5", None, float("inf"), float("nan"), True]),
        (SECONDS_OR_NONE, [None, 3], [0, -0.1]),
        (Number(0.1), [0.1, 5], [0, 0.05]),
        (FLAG, [True, False], [1, 0, "yes", None]),
        (Choice(("a", None)), ["a", None], ["b", 0]),
        (Function(("session", None)), [len, None, "session"], ["user", 5]),
    ],
)
def test_a_rule_allows_what_it_says(rule, allowed, refused):
    for value in allowed:
        check(setting=(value, rule))
    for value in refused:
        with pytest.raises(ConfigurationError, match=re.escape(f"setting={value!r}: must be")):
            check(setting=(value, rule))


def test_11_15_an_error_names_value_allowed_nearest_and_line():
    with pytest.raises(ConfigurationError) as refused:
        check(when=("clik", Choice(("visible", "click"))))
    assert re.fullmatch(
        r"when='clik': must be 'visible' or 'click'; did you mean 'click'\? "
        r"\(.*test_settings\.py:\d+\)",
        str(refused.value),
    )
    with pytest.raises(ConfigurationError, match=r"@lazy has no setting 'cahce'.*'cache'.*:\d+"):
        check_names(["cahce"], ["cache", "stale"], "@lazy")
    with pytest.raises(ConfigurationError, match="it has cache, stale"):
        check_names(["zzz"], ["cache", "stale"], "@lazy")
    check_spelling({"blocking": True}, ["timeout"], "a callback")


@pytest.mark.parametrize("where", [Flash(__name__).callback, flash.callback])
def test_11_15_a_misspelt_option_of_a_callback_is_refused(where):
    with pytest.raises(ConfigurationError, match=r"no setting 'timeoutt'; did you mean 'timeout'"):
        where(Output("a", "children"), Input("b", "value"), timeoutt=3)
    with suppress(ConfigurationError):
        # Another package's option.
        where(Output("a", "children"), Input("b", "value"), blocking=True)


SETTINGS = {
    flash.AsyncManager: ["expire", "max_jobs", "max_waiting", "max_results", "abandon_after"],
    Flash: ["max_threads", "max_waiting"],
}


@pytest.mark.parametrize(
    ("take", "name"), [(take, name) for take, names in SETTINGS.items() for name in names]
)
@pytest.mark.parametrize("value", [-1, "5", float("nan"), True])
def test_11_15_numbers_of_the_core_are_checked(take, name, value):
    with pytest.raises(ConfigurationError, match=f"{name}={re.escape(repr(value))}: must be"):
        take(**{name: value})


@pytest.mark.parametrize(
    "option",
    [
        {"run_in": "lop"},
        {"timeout": 0},
        {"timeout": "5"},
        {"timeout": True},
        {"supersede": "yes"},
        {"coalesce": 1},
    ],
)
def test_11_15_options_of_a_callback_are_checked(option):
    (name,) = option
    with pytest.raises(ConfigurationError, match=f"{name}=.*must be"):
        Flash(__name__).callback(Output("a", "children"), Input("b", "value"), **option)
