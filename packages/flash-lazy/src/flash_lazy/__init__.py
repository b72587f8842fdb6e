"""Panels that load when they are seen, for Flash."""

__all__ = ["__version__"]

__version__ = "0.1.0"
