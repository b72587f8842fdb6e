# What type checkers see of the names of the add-on packages.

from dataclasses import dataclass

from flash.seams.dash_app import DashApp
from flash_lazy import lazy as lazy
from flash_pubsub import PubSub
from flash_ws import Live

live: Live
pubsub: PubSub

@dataclass(frozen=True, slots=True)
class AddOn:
    package: str
    module: str
    attribute: str
    extra: str

ADD_ONS: dict[str, AddOn]

def load(name: str) -> object: ...
def installed() -> list[str]: ...
def attach_used(app: object) -> None: ...
def is_used_by(name: str, app: DashApp) -> bool: ...
