"""What axe finds on each page: nothing that keeps anybody from using it."""

import pytest
from selenium_axe_python import Axe

pytest_plugins = ["flash.testing.plugin"]

# What has to be there before axe looks.
PAGES = {
    "/": "#race",
    "/pane": "#pulse-line",
    "/overview": ".tile-value",
    "/explore": "table, .dash-table-container, .pager",
    "/live": "#live-pushed",
    "/shared": "#wave:not([disabled])",
    "/nothing-blocks": "#report",
    "/when-seen": ".panel",
}
# Whether no element is about to look otherwise; a pulse that never ends does not count.
IS_STILL = """return document.getAnimations().every((each) =>
    each.playState !== 'running' || each.effect.getComputedTiming().iterations === Infinity)"""
WIDTHS = {"phone": (390, 844), "desk": (1440, 900)}


def serious(axe):
    """Return the elements of each serious or critical finding."""
    # Of what is in order, axe then describes one element each.
    found = axe.run(options={"resultTypes": ["violations"]})
    return {
        violation["id"]: [node["html"][:200] for node in violation["nodes"]]
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nobody_is_kept_out(flash_browser, demo, width, theme):
    flash_browser.timeout = 60
    flash_browser.set_viewport(*WIDTHS[width])
    flash_browser.visit(demo, "/")
    flash_browser.run_js("localStorage.setItem('theme', arguments[0])", theme)
    found = {}
    for path, there in PAGES.items():
        flash_browser.open(path)
        flash_browser.find(there)
        # What waits for its figures is paler for that time.
        flash_browser.wait_for_no("[data-dash-is-loading=true]")
        axe = Axe(flash_browser.driver)
        axe.inject()
        # What is fading in or changes its colours is paler for that time, too.
        flash_browser.wait_for(lambda: flash_browser.run_js(IS_STILL), "the end of all movements")
        found.update({f"{path} {name}": html for name, html in serious(axe).items()})
        # What overflows is out of reach on a phone.
        wide = flash_browser.run_js(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        if wide > 0:
            found[f"{path} is wider than the screen"] = wide
    assert not found, "\n".join(f"{name}: {nodes}" for name, nodes in found.items())
