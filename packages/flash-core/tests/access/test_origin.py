"""Which pages may connect."""

import pytest

from flash import ConfigurationError
from flash.access.origin import OriginPolicy


def request(*headers, scheme="ws", host="app.test"):
    pairs = [("host", host)] if host else []
    return {
        "type": "websocket",
        "scheme": scheme,
        "headers": [(name.encode(), value.encode()) for name, value in [*pairs, *headers]],
    }


def allows(policy, *headers, **where):
    return policy.refusal_reason(request(*headers, **where)) is None


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("ws", "app.test", "http://app.test"),
        ("ws", "app.test:80", "http://app.test"),
        ("ws", "app.test:8050", "http://app.test:8050"),
        ("wss", "app.test", "https://app.test"),
        ("wss", "app.test", "https://app.test:443"),
        ("http", "App.Test", "http://app.test"),
        ("https", "app.test.", "https://app.test"),
        ("ws", "[::1]:8050", "http://[::1]:8050"),
        ("ws", "127.0.0.1:8050", "http://127.0.0.1:8050"),
    ],
)
def test_a_page_of_the_app_may_connect(scheme, host, origin):
    assert allows(OriginPolicy(), ("origin", origin), scheme=scheme, host=host)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.test",
        "http://app.test.evil.test",
        "http://evilapp.test",
        "http://sub.app.test",
        "http://app.test:8051",
        "https://app.test",
        "http://app.test@evil.test",
        "http://app.test/",
        "http://app.test#",
        "http://app.test:",
        "http://app.test:080x",
        "http://[app.test]",
        "http://app.test, http://evil.test",
        "null",
        "",
        "app.test",
        "file://",
    ],
)
def test_any_other_origin_is_refused(origin):
    assert not allows(OriginPolicy(), ("origin", origin))


def test_two_origins_or_two_hosts_are_refused():
    own = ("origin", "http://app.test")
    assert not allows(OriginPolicy(), own, ("origin", "http://evil.test"))
    assert not allows(OriginPolicy(), own, own)
    assert not allows(OriginPolicy(), own, ("host", "evil.test"))
    assert not allows(OriginPolicy(), own, host=None)


def test_a_program_that_names_no_origin_may_connect_and_a_foreign_page_without_one_may_not():
    assert allows(OriginPolicy())
    assert allows(OriginPolicy(), ("sec-fetch-site", "none"))
    assert allows(OriginPolicy(), ("sec-fetch-site", "same-origin"))
    assert not allows(OriginPolicy(), ("sec-fetch-site", "same-site"))
    assert not allows(OriginPolicy(), ("sec-fetch-site", "cross-site"))
    assert not allows(OriginPolicy(), ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site"))


def test_the_browsers_word_for_the_same_origin_counts_behind_a_proxy_that_hides_it():
    same = ("sec-fetch-site", "same-origin")
    assert allows(OriginPolicy(), ("origin", "https://app.test"), same, host="10.0.0.7:8050")


def test_other_origins_are_allowed_by_name_by_domain_or_all():
    named = OriginPolicy(["https://shop.test", "http://localhost:3000"])
    assert allows(named, ("origin", "https://shop.test"))
    assert allows(named, ("origin", "http://localhost:3000"))
    assert not allows(named, ("origin", "http://shop.test"))
    assert not allows(named, ("origin", "http://localhost:3001"))

    below = OriginPolicy("https://*.shop.test")
    assert allows(below, ("origin", "https://a.b.shop.test"))
    assert not allows(below, ("origin", "https://shop.test"))
    assert not allows(below, ("origin", "https://evilshop.test"))
    assert not allows(below, ("origin", "https://a.shop.test:8443"))

    everyone = OriginPolicy("*")
    assert allows(everyone, ("origin", "null"))
    assert allows(everyone, ("origin", "https://evil.test"))


@pytest.mark.parametrize(
    "name", ["shop.test", "https://shop.test/", "https://*", "", "https://a*.b"]
)
def test_what_is_no_origin_is_refused_with_an_example(name):
    with pytest.raises(ConfigurationError, match=r"https://example\.org"):
        OriginPolicy([name])


def test_a_refusal_names_the_remedy():
    foreign = OriginPolicy().refusal_reason(request(("origin", "https://shop.test")))
    assert foreign == (
        "the page is from https://shop.test, which is neither this server nor in allowed_origins="
    )
    hidden = OriginPolicy().refusal_reason(request(("origin", "https://app.test")))
    assert hidden is not None
    assert "trusted_proxies=" in hidden


def test_a_named_origin_may_read_answers_with_cookies_and_any_page_only_without():
    named = OriginPolicy(["https://shop.test"])
    shared = dict(named.cors_headers(request(("origin", "https://shop.test"))))
    assert shared == {
        b"access-control-allow-origin": b"https://shop.test",
        b"access-control-allow-credentials": b"true",
        b"vary": b"origin",
    }
    assert named.cors_headers(request(("origin", "http://app.test"))) == []
    assert named.cors_headers(request(("origin", "https://evil.test"))) == []
    assert named.cors_headers(request()) == []
    assert OriginPolicy("*").cors_headers(request(("origin", "https://evil.test"))) == [
        (b"access-control-allow-origin", b"*")
    ]
