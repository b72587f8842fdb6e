"""What all pages share; the app opens it when it starts and closes it when it stops."""

from __future__ import annotations

from database import Database
from machine import Machine

from flash_pubsub import PubSub
from flash_ws import Live

database = Database.from_environment()
machine = Machine()
# A page that was closed is counted for as long as it might come back: here for a few seconds only,
# so that whoever closes a tab sees it.
live = Live(resume_window=5.0)
# In memory, unless FLASH_BROKER_URL names a Redis, as `cluster.py` does. Short times, so that
# whoever kills a worker sees another go on in its place.
pubsub = PubSub(lease_ttl=2.0, presence_ttl=10.0, presence_grace=0.3)
