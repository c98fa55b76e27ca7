"""What a REST API hands a function (docs: API Gateway, "Set up Lambda proxy integrations")."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs


def rest_event(
    body: str | None,
    headers: Mapping[str, str],
    *,
    path: str,
    checked: str | None,
    query: str = "",
    api: str = "a1b2c3d4e5",
    stage: str = "prod",
    **members: Any,
) -> dict[str, Any]:
    """Make the event of a POST.

    Args:
        body: what was posted.
        headers: with it.
        path: of the request, without the stage.
        checked: the id of the API key that was checked, where the method asks for one.
        query: of the request, as it came.
        api: the API's id.
        stage: its stage.
        members: what is different.
    """
    several = parse_qs(query, keep_blank_values=True)
    named = {name.lower(): value for name, value in headers.items()}
    return {
        "resource": path,
        "path": path,
        "httpMethod": "POST",
        "headers": dict(headers),
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in several.items()} or None,
        "multiValueQueryStringParameters": several or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": api,
            "domainName": f"{api}.execute-api.us-east-1.amazonaws.com",
            "httpMethod": "POST",
            "path": f"/{stage}{path}",
            "protocol": "HTTP/1.1",
            "requestId": str(uuid.uuid4()),
            "resourcePath": members.get("resource", path),
            "stage": stage,
            "identity": {
                "apiKey": named.get("x-api-key") if checked else None,
                "apiKeyId": checked,
                "sourceIp": "203.0.113.9",
                "userAgent": named.get("user-agent"),
            },
        },
        "body": body,
        "isBase64Encoded": False,
        **members,
    }
