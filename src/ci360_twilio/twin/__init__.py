"""A stand-in for Twilio that runs on one's own machine: rehearse a campaign without an account."""
