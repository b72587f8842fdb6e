"""Flash: Dash on Quart, with nothing blocking."""

__version__ = "0.1.0"
