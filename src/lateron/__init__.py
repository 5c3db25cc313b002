"""Lateron: a self-hosted HTTP message queue and scheduler compatible with the QStash API."""

__version__ = "0.1.0"
