"""Flash on a plain `quart.Quart`, whose requests code written for Flask does not see."""

from __future__ import annotations

import quart

from apps import work
from flash import Flash

app = Flash(__name__, quart.Quart(__name__))
work.install(app)
