"""The pure core: values in, values out; no clock, no random, no environment, no I/O."""
