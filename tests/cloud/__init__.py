"""AWS without AWS: moto behind a door that records, Lambda's own runtime, and shims of ours for the rest."""
