"""What tests share: how long a browser is waited for, and guides whose code is run."""

import documents
import pytest


@pytest.fixture(scope="session")
def flash_browser_timeout():
    """A wait ends when it has what it waits for; that long only where something is broken."""
    return 60.0


@pytest.fixture
def document(request):
    """The guide that the test's module names as its ``DOCUMENT``."""
    return documents.Document(request.module.DOCUMENT)


@pytest.fixture
def served(tmp_path, document):
    """Write the app of a chapter, with its scripts, and return where it is."""

    def write(heading):
        code = document.blocks("python")[heading]
        path = tmp_path / "app.py"
        path.write_text(code, encoding="utf-8")
        script = document.blocks("js").get(heading)
        if script is not None:
            (tmp_path / "assets").mkdir()
            (tmp_path / "assets" / "page.js").write_text(script, encoding="utf-8")
        return path

    return write


@pytest.fixture
def shown(flash_browser, served):
    """Open the app of a chapter in a browser, once its link is there."""

    def show(heading, path="/"):
        flash_browser.timeout = documents.PATIENCE
        flash_browser.serve(served(heading), path=path)
        return documents.connected(flash_browser)

    return show
