"""``python -m ci360_twilio``: the command, also without its script on the path."""

import sys

from ci360_twilio.edge.cli import main

if __name__ == "__main__":
    sys.exit(main())
