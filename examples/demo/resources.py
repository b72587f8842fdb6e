"""What all pages share; the app opens it when it starts and closes it when it stops."""

from __future__ import annotations

from database import Database
from machine import Machine
from race import Race

database = Database.from_environment()
machine = Machine()
race = Race()
