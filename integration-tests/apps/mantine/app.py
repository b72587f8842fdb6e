"""A booking form of Mantine components: themes, inputs, a modal, notifications, a chart."""

import dash_mantine_components as dmc

from flash import Dash, Input, Output, State, callback, ctx, dcc, no_update

app = Dash(__name__, title="Booking")

PRICES = {"Single": 80, "Double": 120, "Suite": 210}

app.layout = dmc.MantineProvider(
    id="theme",
    forceColorScheme="light",
    theme={"primaryColor": "teal"},
    children=dmc.Container(
        [
            dmc.NotificationContainer(id="notifications", position="top-right"),
            dcc.Store(id="bookings", data=[]),
            dmc.Group(
                [dmc.Title("Book a room", order=1), dmc.Switch(id="dark", label="Dark")],
                justify="space-between",
            ),
            dmc.Stack(
                [
                    dmc.TextInput(id="guest", label="Guest", debounce=200),
                    dmc.Select(id="room", label="Room", data=list(PRICES), value="Single"),
                    dmc.NumberInput(id="nights", label="Nights", value=2, min=1, max=14),
                    dmc.SegmentedControl(id="board", data=["None", "Breakfast"], value="None"),
                    dmc.Text(id="price"),
                    dmc.Button("Book", id="book", disabled=True),
                ],
                gap="sm",
            ),
            dmc.Modal(
                [
                    dmc.Text(id="question"),
                    dmc.Group([dmc.Button("Yes", id="yes"), dmc.Button("No", id="no")], mt="md"),
                ],
                id="confirm",
                title="Sure?",
                transitionProps={"duration": 0},
            ),
            dmc.Box(id="booked", mt="xl"),
        ],
        size="sm",
    ),
)


@callback(Output("theme", "forceColorScheme"), Input("dark", "checked"))
def switch_theme(dark):
    return "dark" if dark else "light"


@callback(
    Output("guest", "error"),
    Output("book", "disabled"),
    Input("guest", "value"),
    prevent_initial_call=True,
)
def check(guest):
    if not guest or len(guest) < 3:
        return "At least three letters", True
    return None, False


@callback(
    Output("price", "children"),
    Input("room", "value"),
    Input("nights", "value"),
    Input("board", "value"),
)
def price(room, nights, board):
    if room is None or not isinstance(nights, int):
        return "–"
    return f"{(PRICES[room] + (15 if board == 'Breakfast' else 0)) * nights} euros"


@callback(
    Output("confirm", "opened"),
    Output("question", "children"),
    Output("bookings", "data"),
    Output("notifications", "sendNotifications"),
    Input("book", "n_clicks"),
    Input("yes", "n_clicks"),
    Input("no", "n_clicks"),
    State("guest", "value"),
    State("room", "value"),
    State("nights", "value"),
    State("bookings", "data"),
    prevent_initial_call=True,
)
def book(_book, _yes, _no, guest, room, nights, bookings):
    if ctx.triggered_id == "book":
        return True, f"{room} for {guest}, {nights} nights?", no_update, no_update
    if ctx.triggered_id == "no":
        return False, no_update, no_update, no_update
    notification = {
        "action": "show",
        "id": f"booking-{len(bookings)}",
        "title": "Booked",
        "message": f"{guest} has the {room}",
        "color": "teal",
        "autoClose": False,
    }
    return False, no_update, [*bookings, {"room": room, "nights": nights}], [notification]


@callback(Output("booked", "children"), Input("bookings", "data"))
def show(bookings):
    if not bookings:
        return dmc.Text("No bookings yet", c="dimmed")
    nights = dict.fromkeys(PRICES, 0)
    for booking in bookings:
        nights[booking["room"]] += booking["nights"]
    return dmc.BarChart(
        h=200,
        dataKey="room",
        data=[{"room": room, "nights": count} for room, count in nights.items()],
        series=[{"name": "nights", "color": "teal.6"}],
        withBarValueLabel=True,
    )


if __name__ == "__main__":
    app.run(debug=True)
