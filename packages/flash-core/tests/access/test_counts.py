"""Who has how many connections, how fast messages may come, and whose cookies no longer count."""

import pytest
from itsdangerous import TimestampSigner

from flash import ConfigurationError, Flash
from flash.access.limits import RateLimit, TokenBucket
from flash.access.places import Places
from flash.access.revocation import Revocations, signed_at

# -- places


def test_places_are_full_at_their_bound_and_free_again_after_a_release():
    places = Places(2)
    places.take()
    assert (places.open, places.is_full) == (1, False)
    places.take()
    assert places.is_full
    assert places.is_full_for(None)
    assert places.is_full_for("ada")
    places.release()
    assert (places.open, places.is_full) == (1, False)


@pytest.mark.parametrize(
    ("most", "options", "each"), [(3, {}, 2), (4, {}, 2), (9, {"max_each": 1}, 1)]
)
def test_a_visitor_has_half_of_the_places_rounded_up_or_what_is_said(most, options, each):
    places = Places(most, **options)
    for _ in range(each):
        assert not places.is_full_for("ada")
        places.take("ada")
    assert places.is_full_for("ada")
    assert not places.is_full_for("otto")
    assert not places.is_full_for(None)
    for _ in range(each):
        places.release("ada")
        assert not places.is_full_for("ada")
    assert (places.open, places._held) == (0, {})


# -- rates


def test_a_bucket_gives_its_burst_and_then_what_has_come_in_since():
    bucket = TokenBucket(RateLimit(per_second=2.0, burst=3), 100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(100.25)
    assert bucket.take(100.5)
    assert not bucket.take(100.5)
    # It holds no more than its burst, however long nobody asked.
    assert not bucket.take(900.0, 4)
    assert bucket.take(900.0, 2)
    assert bucket.take(900.0)
    assert not bucket.take(900.0)


@pytest.mark.parametrize("values", [(0, 1), (-1.0, 1), (1.0, 0), (1.0, 1.5), (None, 1)])
def test_a_rate_must_be_above_zero_and_a_burst_a_whole_number(values):
    with pytest.raises(ConfigurationError, match=r"(per_second|burst)=.*: must be"):
        RateLimit(*values)
    RateLimit(0.5, 1)


# -- revocations


@pytest.fixture
def server():
    app = Flash(__name__)
    app.server.secret_key = "secret"
    yield app.server
    app.pool.close()


def signed(seconds):
    """Return a cookie that was signed so many seconds after 1970."""
    signer = TimestampSigner("key")
    signer.get_timestamp = lambda: seconds
    return signer.sign("value").decode()


def cookies(server, **values):
    text = "; ".join(f"{name}={value}" for name, value in values.items())
    return server.test_request_context("/", headers={"Cookie": text})


async def test_a_cookie_tells_when_it_was_signed(server):
    async with cookies(server, session=signed(1000)):
        assert signed_at(server) == 1000
    # What has no time that can be read; an empty one is the oldest.
    for session, at in [("", None), ("x", None), ("x.y", None), ("a.b.c.d", None), ("a..c", 0)]:
        async with cookies(server, session=session):
            assert signed_at(server) == at
    async with cookies(server, other=signed(1000)):
        assert signed_at(server) is None


async def test_of_a_session_and_a_login_the_older_one_counts(server):
    async with cookies(server, session=signed(1000), QUART_AUTH=signed(900)):
        assert signed_at(server) == 1000
        server.extensions["QUART_AUTH"] = []
        assert signed_at(server) == 900
        server.config["QUART_AUTH_COOKIE_NAME"] = "login"
        assert signed_at(server) == 1000
    async with cookies(server, session=signed(1000), login="notime"):
        # One that tells no time may be older.
        assert signed_at(server) is None
    async with cookies(server, login=signed(800)):
        assert signed_at(server) == 800


async def test_a_revocation_refuses_cookies_of_its_second_and_before(server):
    revocations = Revocations()
    revocations.add("ada", 1000.9)
    # An earlier one changes nothing.
    revocations.add("ada", 10.0)
    assert list(revocations.items()) == [("ada", 1000.9)]
    for seconds, refused in [(999, True), (1000, True), (1001, False)]:
        async with cookies(server, session=signed(seconds)):
            assert revocations.refuses("ada", server) is refused
            assert revocations.refuses("otto", server) is False
    async with cookies(server):
        assert revocations.refuses("ada", server) is True


async def test_revocations_beyond_their_bound_count_for_everybody(server):
    revocations = Revocations(max_users=2)
    for user, at in [("a", 500.0), ("b", 100.0), ("c", 50.0), ("d", 60.0)]:
        revocations.add(user, at)
    assert len(revocations) == 2
    # The latest of those that were dropped.
    async with cookies(server, session=signed(500)):
        assert revocations.refuses("anybody", server)
    async with cookies(server, session=signed(501)):
        assert not revocations.refuses("anybody", server)
        revocations.add("c", 600.0)
        assert revocations.refuses("c", server)
