"""The HTTP API: parse, authenticate, one call of the broker, render."""
