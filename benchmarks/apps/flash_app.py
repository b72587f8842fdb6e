"""Flash: the peers' app with one line changed."""

from __future__ import annotations

from apps import work
from flash import Flash

app = Flash(__name__)
work.install(app)
