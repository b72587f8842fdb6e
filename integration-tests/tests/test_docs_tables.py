"""`docs/tables.md`: each of its blocks is run and used as its text says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import connected
from redis_servers import RedisServer

pytest_plugins = ["flash.testing.plugin"]

DOCUMENT = "tables.md"

GRID = """
const rows = [];
try {
    dash_ag_grid.getApi('grid').forEachLeafNode((node) => rows.push(node.data));
} catch (_) {}
return JSON.stringify(rows);
"""

TRACES = """
const plot = document.querySelector('#chart .js-plotly-plot');
return ((plot && plot.data) || []).map((each) => each.name).sort();
"""


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_every_block_of_the_document_is_run_by_a_test(document):
    text = Path(__file__).read_text(encoding="utf-8")
    used = re.findall(r"(?:shown|served|blocks\[)\(?\s*\"(.+?)\"", text)
    assert set(document.blocks("python")) <= set(used)


def test_all_pages_show_the_same_rows_and_a_script_writes_one(
    flash_browser, served, document, redis_server, tmp_path
):
    blocks = document.blocks("python")
    page = flash_browser
    page.serve(served("The first table"), env={"FLASH_BROKER_URL": redis_server.url})
    connected(page)
    late = connected(page.new_user("/"))
    for tab in (page, late):
        tab.wait_for(lambda tab=tab: tab.run_js(TRACES) == ["A", "B"], "both traces")
        tab.wait_for(lambda tab=tab: len(json.loads(tab.run_js(GRID))) > 5, "the rows")
    code = blocks["Writing rows"].replace("redis://127.0.0.1:6379/0", redis_server.url)
    script = tmp_path / "script.py"
    # An id that the app does not write itself.
    script.write_text(code.replace('"o1"', '"mine"'), encoding="utf-8")
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)
    for tab in (page, late):
        tab.wait_for(lambda tab=tab: '"mine"' in tab.run_js(GRID), "the row of the script")


def test_a_table_of_a_pattern_is_not_shown_without_the_right_session(shown):
    page = shown("Who may see a table")
    status = "return dash_component_api.getLayout('feed').props.status"
    page.wait_for(lambda: page.run_js(status) == "denied", "the answer")
    assert json.loads(page.run_js(GRID)) == []
