"""The handler under the name that an installation of SAS's sample calls it by.

Set the function's handler to ``lambda_function.lambda_handler``; the sample's environment variables
``event_ttl``, ``default_sender`` and ``sm_secret_id_prefix`` go on working.
"""

from ci360_twilio.edge.aws import direct as lambda_handler

__all__ = ["lambda_handler"]
