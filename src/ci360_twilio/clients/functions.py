"""AWS Lambda, as far as a function's own settings go."""

from __future__ import annotations

from ci360_twilio.aws import code_of, make_client
from ci360_twilio.errors import NotKnown, SettingsError


def time_out_of(name: str, region: str | None) -> float:
    """Tell after how many seconds a function is ended.

    Raises:
        SettingsError: the ``aws`` extra is not installed.
        NotKnown: AWS does not say.
    """
    try:
        client = make_client("lambda", region)
    except SettingsError as exc:
        if isinstance(exc.__cause__, ImportError):
            raise
        raise _not_told(exc.__cause__) from exc
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return float(client.get_function_configuration(FunctionName=name)["Timeout"])
    except (BotoCoreError, ClientError) as exc:
        raise _not_told(exc) from exc


def _not_told(cause: BaseException | None) -> NotKnown:
    words = code_of(cause) or type(cause).__name__
    return NotKnown(f"AWS does not tell the function's settings: {words}.")
