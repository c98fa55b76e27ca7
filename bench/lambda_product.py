"""The product's direct Lambda as its runtime calls it: import the module, call the handler once."""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any


class Context:
    """What the runtime hands to a handler."""

    function_name = "ci360-twilio-bench"
    function_version = "$LATEST"
    memory_limit_in_mb = "512"
    aws_request_id = "7d1e2f30-4a5b-4c6d-9e8f-0a1b2c3d4e5f"
    invoked_function_arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function_name}"
    log_group_name = f"/aws/lambda/{function_name}"
    log_stream_name = "2030/01/01/[$LATEST]0123456789abcdef0123456789abcdef"

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left of the invocation."""
        return max(0, int((self._until - time.monotonic()) * 1000))


if __name__ == "__main__":
    handler: Any = importlib.import_module("lambda_function").lambda_handler
    outcome = handler(json.loads(Path(sys.argv[1]).read_bytes()), Context(30.0))
    sys.exit(0 if outcome["statusCode"] == 200 else f"answered {outcome}")
