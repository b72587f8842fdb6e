"""A registration form of Bootstrap components: tabs, collapse, validation, a modal, an alert."""

import re

import dash_bootstrap_components as dbc

from flash import Dash, Input, Output, State, callback, ctx, dcc, html

# The styles are in assets/: the themes of the library come from a server on the internet.
app = Dash(__name__, title="Registration")

form = dbc.Form(
    [
        dbc.Label("E-mail", html_for="email"),
        dbc.Input(id="email", type="text", placeholder="you@example.org"),
        dbc.FormFeedback("Looks right", type="valid"),
        dbc.FormFeedback("That is no e-mail address", type="invalid", id="email-wrong"),
        dbc.Label("Course", html_for="course"),
        dbc.Select(["Drawing", "Pottery", "Weaving"], "Drawing", id="course"),
        dbc.Checklist([{"label": "I have read the terms", "value": "read"}], id="terms"),
        dbc.RadioItems(["Morning", "Evening"], "Morning", id="time", inline=True),
        dbc.Button("More", id="more", color="link", n_clicks=0),
        dbc.Collapse(dbc.Textarea(id="note", placeholder="A note"), id="extra", is_open=False),
        dbc.Button("Register", id="register", color="primary", disabled=True),
    ]
)

app.layout = dbc.Container(
    [
        html.H1("Courses"),
        dcc.Store(id="registrations", data=[]),
        dbc.Tabs(
            [
                dbc.Tab(label="Register", tab_id="form-tab", tab_class_name="tab-form"),
                dbc.Tab(label="Registered", tab_id="list-tab", tab_class_name="tab-list"),
            ],
            id="tabs",
            active_tab="form-tab",
        ),
        html.Div(form, id="form-side"),
        html.Div(id="list-side"),
        dbc.Modal(
            [
                dbc.ModalHeader(dbc.ModalTitle("Thank you")),
                dbc.ModalBody(id="thanks"),
                dbc.ModalFooter(dbc.Button("Close", id="close")),
            ],
            id="done",
            is_open=False,
            fade=False,
        ),
    ]
)


@callback(Output("email", "valid"), Output("email", "invalid"), Input("email", "value"))
def check_email(email):
    if not email:
        return False, False
    valid = re.fullmatch(r"[^@\s]+@[^@\s]+\.\w+", email) is not None
    return valid, not valid


@callback(
    Output("register", "disabled"),
    Input("email", "valid"),
    Input("terms", "value"),
)
def allow(valid, terms):
    return not (valid and terms)


@callback(
    Output("extra", "is_open"),
    Output("more", "children"),
    Input("more", "n_clicks"),
    State("extra", "is_open"),
    prevent_initial_call=True,
)
def fold(_clicks, is_open):
    return not is_open, "More" if is_open else "Less"


@callback(
    Output("done", "is_open"),
    Output("thanks", "children"),
    Output("registrations", "data"),
    Input("register", "n_clicks"),
    Input("close", "n_clicks"),
    State("email", "value"),
    State("course", "value"),
    State("time", "value"),
    State("note", "value"),
    State("thanks", "children"),
    State("registrations", "data"),
    prevent_initial_call=True,
)
def register(_register, _close, email, course, time, note, thanks, registrations):
    if ctx.triggered_id == "close":
        return False, thanks, registrations
    entry = {"email": email, "course": course, "time": time, "note": note or ""}
    return True, f"{email} is in {course}, {time.lower()}s", [*registrations, entry]


@callback(
    Output("form-side", "style"),
    Output("list-side", "children"),
    Input("tabs", "active_tab"),
    Input("registrations", "data"),
)
def show(tab, registrations):
    if tab == "form-tab":
        return {}, None
    if not registrations:
        return {"display": "none"}, dbc.Alert("Nobody yet", id="nobody", dismissable=True)
    header = html.Thead(html.Tr([html.Th(name.title()) for name in registrations[0]]))
    body = html.Tbody(
        [html.Tr([html.Td(value) for value in entry.values()]) for entry in registrations]
    )
    return {"display": "none"}, dbc.Table([header, body], id="registered", striped=True)


if __name__ == "__main__":
    app.run(debug=True)
