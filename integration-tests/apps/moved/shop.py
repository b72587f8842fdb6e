"""A shop on a Flask server that has an API, guards and pages of its own."""

import plotly.graph_objects as go
from dash import ALL, Dash, Input, Output, ctx, dcc, html
from flask import (
    Blueprint,
    Flask,
    flash,
    g,
    get_flashed_messages,
    has_request_context,
    jsonify,
    redirect,
    render_template_string,
    request,
    session,
    url_for,
)

PRICES = {"apples": 3, "bread": 4, "cheese": 9}

server = Flask(__name__)
server.config["SECRET_KEY"] = "shop"
api = Blueprint("api", __name__, url_prefix="/api")


@server.before_request
def note_visitor():
    g.currency = request.cookies.get("currency", "EUR")
    if request.path.startswith("/desk/") and "name" not in session:
        return redirect(url_for("enter", then=request.path))
    return None


@server.after_request
def add_header(response):
    response.headers["X-Currency"] = g.currency
    return response


@server.route("/", methods=["GET", "POST"])
def enter():
    if request.method == "POST":
        if len(request.form["name"]) < 2:
            flash("A name has two letters at least")
            return redirect(url_for("enter"))
        session["name"], session["cart"] = request.form["name"], {}
        return redirect(request.args.get("then") or "/desk/")
    return render_template_string(
        """<!doctype html><title>Shop</title><h1>Shop</h1>
        {% for text in messages %}<p id="error">{{ text }}</p>{% endfor %}
        <form method="post"><input id="name" name="name"><button id="enter">Enter</button></form>
        """,
        messages=get_flashed_messages(),
    )


@api.route("/cart")
def cart():
    return jsonify(name=session.get("name"), cart=session.get("cart", {}), currency=g.currency)


@api.errorhandler(404)
def missing(error):
    return jsonify(error=str(error)), 404


@api.route("/price/<product>")
def price(product):
    if product not in PRICES:
        return {"error": f"no {product}"}, 404
    return {"price": PRICES[product], "currency": g.currency}


server.register_blueprint(api)
app = Dash(__name__, server=server, url_base_pathname="/desk/", title="Desk", update_title=None)
app.config.suppress_callback_exceptions = True


def layout():
    # Dash calls this once without a request.
    if not has_request_context():
        return html.Div()
    return html.Div(
        [
            html.H1(f"{session.get('name', 'nobody')}'s cart"),
            *[html.Button(name, id={"product": name}) for name in PRICES],
            dcc.RadioItems(["EUR", "CHF"], g.currency, id="currency"),
            html.P(id="sum"),
            html.P(id="paid-in"),
            dcc.Graph(id="bars"),
        ]
    )


app.layout = layout


@app.callback(
    Output("sum", "children"),
    Output("bars", "figure"),
    Input({"product": ALL}, "n_clicks"),
    Input("paid-in", "children"),
)
def fill(_clicks, _paid_in):
    cart = dict(session.get("cart", {}))
    if isinstance(ctx.triggered_id, dict):
        product = ctx.triggered_id["product"]
        cart[product] = cart.get(product, 0) + 1
        session["cart"] = cart
    total = sum(PRICES[name] * count for name, count in cart.items())
    bars = go.Bar(x=list(cart), y=list(cart.values()))
    return f"{total} {g.currency} for {session['name']}", go.Figure(bars, {"height": 260})


@app.callback(Output("paid-in", "children"), Input("currency", "value"), prevent_initial_call=True)
def choose(currency):
    ctx.response.set_cookie("currency", currency, path="/")
    return f"from now on in {currency}"


if __name__ == "__main__":
    app.run(debug=True)
