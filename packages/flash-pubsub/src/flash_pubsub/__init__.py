"""Shared callbacks and channels over Redis, for Flash."""

__all__ = ["__version__"]

__version__ = "0.1.0"
