"""A library's catalogue on several pages, behind HTTP basic authentication."""

import plotly.express as px
from dash import (
    Dash,
    Input,
    Output,
    State,
    callback,
    dcc,
    html,
    page_container,
    page_registry,
    register_page,
)
from dash_auth import BasicAuth
from flask import request

USERS = {"ada": "engine", "max": "quanta"}
BOOKS = {
    1: ("Flatland", 1884, 96),
    2: ("Middlemarch", 1871, 880),
    3: ("Walden", 1854, 352),
}

app = Dash(__name__, use_pages=True, pages_folder="", suppress_callback_exceptions=True)
server = app.server
BasicAuth(app, USERS, secret_key="library")


def shelf(order="title", **_others):
    index = {"title": 0, "year": 1, "pages": 2}.get(order, 0)
    books = sorted(BOOKS.items(), key=lambda book: book[1][index])
    return html.Div(
        [
            html.H2(f"Shelf by {order}"),
            html.Ul([html.Li(dcc.Link(b[0], href=f"/book/{n}")) for n, b in books]),
            dcc.Link("By year", href="/?order=year", id="by-year"),
        ]
    )


def book(number="0", **_others):
    if not number.isdigit() or int(number) not in BOOKS:
        return html.H2(f"No book {number}", id="missing")
    title, year, pages = BOOKS[int(number)]
    return html.Div(
        [
            html.H2(title, id="book"),
            html.P(f"{year}, {pages} pages"),
            dcc.Input(id="days", type="number", value=7, min=1, max=30),
            html.P(id="pace"),
            dcc.Store(id="pages", data=pages),
        ]
    )


def statistics():
    years = [year for _, year, _ in BOOKS.values()]
    pages = [pages for _, _, pages in BOOKS.values()]
    return html.Div(
        [html.H2("Statistics"), dcc.Graph(id="bars", figure=px.bar(x=years, y=pages, height=300))]
    )


register_page("shelf", path="/", title="Shelf", layout=shelf, order=0)
register_page("statistics", path="/statistics", redirect_from=["/numbers"], layout=statistics)
register_page(
    "book",
    path_template="/book/<number>",
    title=lambda number=None: f"Book {number}",
    layout=book,
)
register_page("not_found_404", path="/404", layout=html.H2("There is nothing here", id="nothing"))

app.layout = html.Div(
    [
        html.Nav(
            [
                dcc.Link(page["name"], href=page["path"], className="nav")
                for page in page_registry.values()
                if page["module"] in ("shelf", "statistics")
            ]
        ),
        html.P(id="reader"),
        dcc.Location(id="where"),
        page_container,
    ]
)


@callback(Output("reader", "children"), Input("where", "pathname"))
def greet(path):
    return f"{request.authorization['username']} reads {path}"


@callback(Output("pace", "children"), Input("days", "value"), State("pages", "data"))
def pace(days, pages):
    return f"{pages / days:.1f} pages a day" if days else "one day at least"


if __name__ == "__main__":
    app.run(debug=True)
