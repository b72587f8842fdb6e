"""Dash pages under Flash: routing, templates, titles, redirects, validation; plain and async."""

import asyncio
import threading

import dash
import pytest
import quart
from dash import Input, Output, State, dcc, html

from flash import Flash
from flash.testing import FlashClient, StartupFailed

SECONDS = 20


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


@pytest.fixture
def app():
    return an_app()


def an_app(**options):
    return Flash(__name__, use_pages=True, pages_folder="", **options)


def page(name, path=None, **options):
    dash.register_page(name, path=path, **options)


class TestRouting:
    async def test_a_path_shows_its_page_and_title(self, app):
        page("home", "/", layout=html.P("home"), title="Start")
        page("about", "/about", layout=html.P("about"))
        async with FlashClient(app) as client:
            assert (await client.layout("/")).text == "home"
            tree = await client.layout("/about")
            assert tree.text == "about"
            assert tree.find("_pages_store")["data"] == {"title": "About"}

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_layout_gets_path_variables_query_and_inputs(self, is_async):
        app = an_app(
            routing_callback_inputs={"language": State("language", "value")},
            suppress_callback_exceptions=True,
        )
        app.layout = html.Div([dcc.Input("en", id="language"), dash.page_container])

        def item(number=None, q=None, language=None, **others):
            return html.P(
                f"{number} {q} {language} {others} {quart.request.method} "
                f"{threading.current_thread() is threading.main_thread()}",
                id="item",
            )

        async def item_on_loop(**arguments):
            await asyncio.sleep(0)
            return item(**arguments)

        page("item", path_template="/item/<number>", layout=item_on_loop if is_async else item)
        async with FlashClient(app) as client:
            tree = await client.layout("/item/7?q=8&other=9")
        assert tree.find("item").text == f"7 8 en {{'other': '9'}} POST {is_async}"

    async def test_13_g_a_query_string_does_not_replace_a_variable_of_the_path(self, app):
        page("user", path_template="/u/<name>", layout=lambda name="", **_: html.P(name, id="name"))
        async with FlashClient(app) as client:
            tree = await client.layout("/u/alice?name=bob")
        assert tree.find("name").text == "alice"

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_titles_and_descriptions_may_be_functions(self, app, is_async):
        def title(number=None):
            return f"Item {number}"

        def description(number=None):
            return f"All about {number}"

        async def title_on_loop(number=None):
            return title(number)

        async def description_on_loop(number=None):
            return description(number)

        page(
            "item",
            path_template="/item/<number>",
            layout=lambda number=None: html.P(number),
            title=title_on_loop if is_async else title,
            description=description_on_loop if is_async else description,
        )
        async with FlashClient(app) as client:
            tree = await client.layout("/item/7")
            assert tree.find("_pages_store")["data"] == {"title": "Item 7"}
            index = await client.get("/item/7")
        assert '<meta property="og:title" content="Item 7">' in index.text
        assert '<meta name="description" content="All about 7">' in index.text

    async def test_an_unknown_path_shows_that_there_is_nothing(self, app):
        page("home", "/", layout=html.P("home"))
        async with FlashClient(app) as client:
            tree = await client.layout("/nowhere")
        assert tree.text == "404 - Page not found"
        assert tree.find("_pages_store")["data"] == {"title": "Dash"}

    async def test_an_app_may_say_so_itself(self, app):
        page("home", "/", layout=html.P("home"))

        async def lost(**_):
            return html.P("lost")

        page("pages.not_found_404", layout=lost, title="Lost")
        async with FlashClient(app) as client:
            tree = await client.layout("/nowhere")
        assert tree.text == "lost"
        assert tree.find("_pages_store")["data"] == {"title": "Lost"}

    async def test_a_path_that_moved_redirects(self, app):
        page("new", "/new", layout=html.P("new"), redirect_from=["/old", "/older"])
        async with FlashClient(app) as client:
            answer = await client.get("/old")
            assert (answer.status, answer.headers["location"]) == (301, "/new")
            assert (await client.layout("/older")).text == "new"

    async def test_pages_live_below_the_app_s_prefix(self):
        app = an_app(url_base_pathname="/app/")
        page("home", "/", layout=html.P("home"))
        page("about", "/about", layout=html.P("about"))
        async with FlashClient(app) as client:
            assert (await client.layout("/app/")).text == "home"
            assert (await client.layout("/app/about")).text == "about"

    async def test_callbacks_of_pages_run(self, app):
        page("home", "/", layout=html.Div([dcc.Input(id="in"), html.P(id="out")]))
        dash.callback(Output("out", "children"), Input("in", "value"))(lambda value: value)
        async with FlashClient(app) as client:
            await client.layout("/")
            assert (await client.call("out.children", {"in.value": 1})).value == 1

    async def test_a_layout_that_raises_is_an_error_of_the_routing_callback(self, app):
        def broken(**_):
            if quart.request.method == "POST":
                raise ValueError("no data")
            return html.P()

        page("home", "/", layout=broken)
        heard = []
        app._on_error = heard.append
        async with FlashClient(app) as client:
            await client.layout("/")
        assert [str(error) for error in heard] == ["no data"]

    async def test_pages_from_a_folder_are_found(self, tmp_path):
        (tmp_path / "home.py").write_text(
            "import dash\nfrom dash import html\n"
            "dash.register_page(__name__, path='/')\n"
            "async def layout(**_):\n    return html.P('from a file')\n"
        )
        app = Flash(__name__, use_pages=True, pages_folder=str(tmp_path))
        async with FlashClient(app) as client:
            assert (await client.layout("/")).text == "from a file"


class TestValidation:
    async def test_every_page_is_validated_at_start(self, app):
        async def about():
            return html.P(id="about")

        page("home", "/", layout=html.P(id="home"))
        page("about", "/about", layout=about)
        page("several", "/several", layout=[html.P(id="one"), html.P(id="two")])
        async with FlashClient(app) as client:
            await client.layout("/")
            validated = client._page.config["validation_layout"]
        text = str(validated)
        for component in ("home", "about", "one", "two", "_pages_content"):
            assert f"'id': '{component}'" in text

    async def test_a_page_that_looks_at_the_visitor_sees_one(self, app):
        app.server.secret_key = "secret"

        def layout(**_):
            return html.P(f"{quart.request.path} {quart.session.get('user', 'nobody')}", id="who")

        page("home", "/", layout=layout)
        async with FlashClient(app) as client:
            assert (await client.layout("/")).text == "/_dash-update-component nobody"

    async def test_without_the_container_the_app_does_not_start(self, app):
        page("home", "/", layout=html.P("home"))
        app.layout = html.Div("nothing else")
        with pytest.raises(StartupFailed, match=r"`dash\.page_container` not found in the layout"):
            async with FlashClient(app):
                pass

    async def test_nothing_is_validated_where_exceptions_are_suppressed(self):
        app, calls = an_app(suppress_callback_exceptions=True), []

        def layout(**_):
            calls.append(1)
            return html.P("home")

        page("home", "/", layout=layout)
        async with FlashClient(app):
            assert not calls

    async def test_two_pages_on_one_path_are_refused(self, app):
        page("a", "/same", layout=html.P())
        page("b", "/same", layout=html.P())
        with pytest.raises(StartupFailed, match="have duplicate paths"):
            async with FlashClient(app):
                pass
