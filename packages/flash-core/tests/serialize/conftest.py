import pytest

from flash.serialize import cleaning
from flash.serialize.plain import CONTAINERS, PLAIN


@pytest.fixture(autouse=True)
def nothing_learned():
    """Each test meets every class for the first time, whatever ran before it."""
    for learned in (cleaning._PLOTLY_FORMS, cleaning._CLEANED):
        for cls in learned.keys() - PLAIN - CONTAINERS:
            del learned[cls]
