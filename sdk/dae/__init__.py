"""DAE: the library inside apps, and the command of those who write them."""

__version__ = "0.1.0"
