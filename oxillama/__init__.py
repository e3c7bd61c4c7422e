"""oxillama: the Assistants API v2 on one's own machine."""

__version__ = "0.1.0"
