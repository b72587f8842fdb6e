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
        "the page is from https://shop.test, which is neither this server nor in allowed_origins=; "
        "the request's Host is app.test: if a proxy has changed it, set `proxy_set_header Host "
        "$host;` (nginx) or the like"
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


def test_the_usual_port_is_that_of_the_scheme_and_other_schemes_have_none():
    secure = OriginPolicy(["https://shop.test:443", "app+x://localhost"])
    assert allows(secure, ("origin", "https://shop.test"))
    assert allows(secure, ("origin", "HTTPS://SHOP.test."))
    assert not allows(secure, ("origin", "https://shop.test:80"))
    assert allows(secure, ("origin", "app+x://localhost"))
    assert not allows(secure, ("origin", "app+x://localhost:80"))


def test_several_names_are_read_apart_domains_among_them():
    several = OriginPolicy(["https://*.a.test", "https://b.test", "http://*.c.test:8050"])
    assert allows(several, ("origin", "https://x.a.test"))
    assert allows(several, ("origin", "https://b.test"))
    assert allows(several, ("origin", "http://x.c.test:8050"))
    assert not allows(several, ("origin", "https://x.b.test"))
    assert not allows(several, ("origin", "http://x.a.test"))
    assert not allows(several, ("origin", "https://evil.test"))


def test_any_page_may_connect_where_the_star_is_one_of_several_names():
    policy = OriginPolicy(["https://shop.test", "*"])
    assert allows(policy, ("origin", "https://evil.test"))
    assert dict(policy.cors_headers(request(("origin", "https://shop.test"))))[
        b"access-control-allow-credentials"
    ]
    assert policy.cors_headers(request()) == []


def test_each_refusal_says_which_of_the_rules_was_broken():
    def said(*headers, **where):
        return OriginPolicy().refusal_reason(request(*headers, **where))

    assert said(("sec-fetch-site", "cross-site")) == "the request comes from a page of another site"
    assert "origin 'null' is not allowed" in said(("origin", "null"))
    two = said(("origin", "http://a.test"), ("origin", "http://b.test"))
    assert "'http://a.test, http://b.test'" in two
    behind_a_proxy = said(("origin", "https://app.test"))
    assert "https://app.test" in behind_a_proxy
    assert "over http:" in behind_a_proxy
    assert "name it in trusted_proxies=, or the origin in allowed_origins=" in behind_a_proxy
    # No proxy turns http into https, nor one host into another.
    for origin, scheme in [("http://app.test", "wss"), ("https://shop.test", "ws")]:
        assert "neither this server nor in allowed_origins=" in said(
            ("origin", origin), scheme=scheme
        )
    assert "neither this server" in said(("origin", "https://app.test"), host=None)


def test_headers_are_taken_without_the_space_around_them():
    assert allows(OriginPolicy(), ("origin", " http://app.test "))


def test_a_request_that_names_no_scheme_came_by_http():
    scope = request(("origin", "http://app.test"))
    del scope["scheme"]
    assert OriginPolicy().refusal_reason(scope) is None


def test_an_answer_is_shared_with_one_origin_only():
    named = OriginPolicy(["https://shop.test", "https://*.shop.test"])
    shop = ("origin", "https://shop.test")
    assert named.cors_headers(request(shop, shop)) == []
    assert named.cors_headers(request(("origin", "null"))) == []
    below = ("origin", "https://a.shop.test")
    assert (b"access-control-allow-origin", b"https://a.shop.test") in named.cors_headers(
        request(below)
    )
    # The app's own pages need no leave, named or not.
    own = OriginPolicy(["http://app.test"])
    assert own.cors_headers(request(("origin", "http://app.test"))) == []
