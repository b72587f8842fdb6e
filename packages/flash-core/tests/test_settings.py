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
    COUNT_OR_NONE,
    FLAG,
    SECONDS,
    SECONDS_OR_NONE,
    SHARE,
    Choice,
    Function,
    Instance,
    Number,
    UnknownSetting,
    check,
    check_names,
    check_spelling,
    here,
    shown_path,
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
        (Function(), [len, None], ["len", 0]),
        (SHARE, [0.01, 1], [0, 1.01, None]),
        (Instance(dict), [{}], [None, []]),
        (Instance(dict, optional=True), [{}, None], [[]]),
    ],
)
def test_a_rule_allows_what_it_says(rule, allowed, refused):
    for value in allowed:
        check(setting=(value, rule))
    for value in refused:
        with pytest.raises(ConfigurationError, match=re.escape(f"setting={value!r}: must be")):
            check(setting=(value, rule))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (COUNT, "a whole number, 1 or more"),
        (COUNT_OR_NONE, "a whole number, 1 or more, or None"),
        (SECONDS, "a number of seconds above 0"),
        (SHARE, "a number above 0 and up to 1"),
        (FLAG, "True or False"),
        (Choice(("a", None)), "'a' or None"),
        (Function(), "a function or None"),
        (Function(("session", None)), "a function or 'session' or None"),
        (Instance(dict), "a dict"),
        (Instance(dict, optional=True), "a dict, or None"),
    ],
)
def test_a_rule_says_what_it_allows(rule, words):
    assert str(rule) == words


def test_a_function_that_is_misspelt_is_guessed():
    with pytest.raises(ConfigurationError, match=r"did you mean 'session'\?"):
        check(setting=("sesion", Function(("session", None))))
    with pytest.raises(ConfigurationError, match=r"must be a function or 'session' or None \("):
        check(setting=("x", Function(("session", None))))


def test_an_unknown_name_is_refused_unless_it_may_be_a_plugins():
    known = ["stale", "cache"]
    with pytest.raises(UnknownSetting, match=r"@lazy has no setting 'zzz'; it has cache, stale \("):
        check_names(["cache", "zzz"], known, "@lazy")
    with pytest.raises(UnknownSetting, match=r"@lazy has no setting 'cahce'; did you .* \(.*:\d+"):
        check_spelling({"stale": 1, "cahce": 2}, known, "@lazy")
    check_names(known, known, "@lazy")
    check_spelling({"zzz": 1, "cache": 2}, known, "@lazy")


def test_a_place_in_the_app_is_shown_as_its_author_knows_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(str(tmp_path / "pages" / "a.py")) == "pages/a.py"
    assert shown_path(str(tmp_path.parent / "a.py")) == str(tmp_path.parent / "a.py")
    assert re.fullmatch(r" \(.*test_settings\.py:\d+\)", here())


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
