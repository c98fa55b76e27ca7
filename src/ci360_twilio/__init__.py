"""Send SAS CI360 events as Twilio messages, at most once, and say what became of each."""

__version__ = "0.1.0"
