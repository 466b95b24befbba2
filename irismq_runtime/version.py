"""The version of the distribution: it is written here alone."""

__all__ = ["__version__"]

__version__ = "0.2.0"
