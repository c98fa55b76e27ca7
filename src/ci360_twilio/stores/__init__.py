"""Ledgers. One conformance suite (``tests/conformance``) holds for all of them."""
