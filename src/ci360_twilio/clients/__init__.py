"""Adapters to the world outside; each maps the errors it meets to ours, once."""
