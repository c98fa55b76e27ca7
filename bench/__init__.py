"""Measured claims: each figure beside its reference, taken in the same run on the same machine."""
