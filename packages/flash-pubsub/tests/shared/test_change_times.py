"""The times that changes of shared inputs are given."""

from flash_pubsub.shared.change_times import ChangeTimes


class Clocks:
    """A worker's clocks, moved by hand; in seconds."""

    def __init__(self, wall=1000.0):
        self.since = 0.0
        self.times = ChangeTimes(wall=lambda: wall, monotonic=lambda: self.since)


def test_the_time_is_wall_time_wherever_the_monotonic_clock_begins():
    times = ChangeTimes(wall=lambda: 1000.0, monotonic=lambda: 40.0)
    assert times.now() == 1_000_000


def test_a_change_has_one_time_whichever_callback_reports_it_first():
    clocks = Clocks()
    first = clocks.times.made_at("page", "slider", 50, 60)
    clocks.since = 0.4
    assert clocks.times.made_at("page", "slider", 50, 300) == first
    assert clocks.times.made_at("page", "slider", 51, 300) > first


def test_a_change_keeps_its_time_when_a_faster_message_measures_the_clock_anew():
    clocks = Clocks()
    first = clocks.times.made_at("page", "slider", 50, 60)
    assert clocks.times.made_at("page", "slider", 50, 100) == first
    assert clocks.times.made_at("page", "slider", 51, 100) < first


def test_a_message_that_was_held_up_keeps_the_time_at_which_it_was_sent():
    clocks = Clocks()
    clocks.times.observe_page("page", 10)
    clocks.since = 30.0
    assert clocks.times.made_at("page", "slider", 50, 60) == (1_000_040, "page")


def test_a_message_may_be_held_up_for_a_minute():
    clocks = Clocks()
    clocks.times.observe_page("page", 100)
    clocks.since = 60.0
    assert clocks.times.made_at("page", "slider", 50, 100) == (999_950, "page")
    # More is taken for a clock that was set back.
    clocks.since = 60.001
    assert clocks.times.made_at("page", "other", 50, 100) == (1_059_951, "page")


def test_a_page_whose_clock_is_hours_off_is_as_good_as_any():
    clocks = Clocks()
    one = clocks.times.made_at("one", "slider", 7_200_000, 7_200_000)
    clocks.since = 0.1
    other = clocks.times.made_at("other", "slider", 5, 5)
    assert one < other == (1_000_100, "other")


def test_a_page_whose_clock_is_set_back_is_heard_again():
    clocks = Clocks()
    clocks.times.observe_page("page", 3_600_000)
    clocks.since = 1.0
    assert clocks.times.made_at("page", "slider", 1000, 1000) == (1_001_000, "page")


def test_nothing_is_made_in_the_future():
    clocks = Clocks()
    assert clocks.times.made_at("page", "slider", 9_000_000, 10) == (1_000_000, "page")


def test_what_is_changed_after_a_time_was_read_is_later_though_the_clock_is_behind():
    clocks = Clocks(wall=1000.0)
    clocks.times.observe((1_005_000, "elsewhere"))
    assert clocks.times.now() > 1_005_000
    clocks.since = 0.2
    assert clocks.times.made_at("page", "slider", 190, 200) > (1_005_000, "elsewhere")


def test_what_is_changed_in_the_millisecond_of_a_time_that_was_read_is_later():
    clocks = Clocks()
    clocks.times.observe((clocks.times.now(), "elsewhere"))
    assert clocks.times.now() == 1_000_001


def test_pages_that_were_heard_of_longest_ago_are_forgotten():
    clocks = Clocks()
    for number in range(20_001):
        clocks.times.made_at(f"page {number}", "slider", 50, 60)
    clocks.since = 1.0
    # A clock that is known already would give the same time again.
    assert clocks.times.made_at("page 1", "slider", 50, 60)[0] == 1_000_000 - 10
    assert clocks.times.made_at("page 0", "slider", 50, 60)[0] == 1_001_000 - 10
