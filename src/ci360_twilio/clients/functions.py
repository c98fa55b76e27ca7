"""AWS Lambda, as far as a function's own settings go."""

from __future__ import annotations

from ci360_twilio.errors import NotKnown, SettingsError


def time_out_of(name: str, region: str | None) -> float:
    """Tell after how many seconds a function is ended.

    Raises:
        SettingsError: the ``aws`` extra is not installed.
        NotKnown: AWS does not say.
    """
    try:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.session import Session
    except ImportError as exc:
        words = "AWS needs the extra: pip install 'ci360-twilio-connector[aws]'"
        raise SettingsError(words) from exc
    try:
        client = Session().create_client("lambda", region_name=region)
        return float(client.get_function_configuration(FunctionName=name)["Timeout"])
    except (BotoCoreError, ClientError) as exc:
        code = exc.response["Error"]["Code"] if isinstance(exc, ClientError) else type(exc).__name__
        raise NotKnown(f"AWS does not tell the function's settings: {code}.") from exc
