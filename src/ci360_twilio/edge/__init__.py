"""Where the world comes in: HTTP, Lambda, worker, command line. Broad ``except`` lives only here."""
