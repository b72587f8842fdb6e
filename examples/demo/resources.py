"""What all pages share; the app opens it when it starts and closes it when it stops."""

from __future__ import annotations

from database import Database
from machine import Machine

from flash_ws import Live

database = Database.from_environment()
machine = Machine()
# A page that was closed is counted for as long as it might come back: here for a few seconds only,
# so that whoever closes a tab sees it.
live = Live(resume_window=5.0)
