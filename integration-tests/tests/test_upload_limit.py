"""An upload beyond the limit: the page says so, and the log names the setting."""

import pytest

pytest_plugins = ["flash.testing.plugin"]

APP = """
from flash import Flash, Input, Output, dcc, html

app = Flash(__name__)
app.server.config["MAX_CONTENT_LENGTH"] = 300_000
app.layout = html.Div([dcc.Upload("here", id="upload"), html.P(id="out")])
# {guard}

@app.callback(Output("out", "children"), Input("upload", "contents"))
def show(contents):
    return f"{len(contents or '')} characters"
"""


@pytest.mark.parametrize("guard", ["", "\napp.server.before_request(lambda: None)"])
def test_11_23_an_upload_beyond_the_limit_is_told(guard, flash_browser, tmp_path):
    (tmp_path / "app.py").write_text(APP.replace("# {guard}", guard))
    process = flash_browser.serve(tmp_path / "app.py")
    flash_browser.expect_console_errors("413|dash_renderer|Too large to be sent")
    flash_browser.wait_for_text("#out", "0 characters")
    small, large = tmp_path / "small.bin", tmp_path / "large.bin"
    small.write_bytes(b"x" * 900)
    large.write_bytes(b"x" * 900_000)
    flash_browser.find("#upload input").send_keys(str(large))
    notice = "Too large to be sent: 1.2 MB, and at most 0.3 MB are allowed"
    flash_browser.wait_for(
        lambda: notice in flash_browser.find(".flash-too-large").text, "the notice"
    )
    assert 'app.server.config["MAX_CONTENT_LENGTH"] = 300000 bytes' in process.output
    flash_browser.click(".flash-too-large")
    flash_browser.wait_for(
        lambda: not flash_browser.find_all(".flash-too-large"), "the end of the notice"
    )
    flash_browser.find("#upload input").send_keys(str(small))
    flash_browser.wait_for_text("#out", "1237 characters")
