"""The reference of the functions: what a small function written by hand does, and no more.

It imports its two libraries, reads the tenant's secret, posts one message and answers. No checks,
no duplicates, no expiry, no log.
"""

import base64
import json
import os
from typing import Any
from urllib.parse import urlencode

import boto3
import urllib3


def lambda_handler(request: dict[str, Any], _context: object) -> dict[str, Any]:
    """Send the event as one message."""
    event = json.loads(request["body"])
    prefix = os.environ["sm_secret_id_prefix"]  # noqa: SIM112 - the sample's own spelling
    tenant = read_tenant(prefix + event["externalTenantId"])
    answer = post_message(tenant, message_form(event["impression"]["creativeContent"]))
    return {"statusCode": 200 if answer.status == 201 else 502, "body": answer.data.decode()}


def read_tenant(name: str) -> dict[str, str]:
    """Read the secret that holds the tenant's Twilio account."""
    client = boto3.client("secretsmanager", region_name=os.environ["AWS_REGION"])
    document: dict[str, str] = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
    return document


def message_form(creative: str) -> dict[str, str]:
    """Take the recipient and the sender off the front of the text."""
    *directives, text = creative.split(";")
    named = dict(one.split(":", 1) for one in directives)
    return {"To": named["TO"], "From": named["FROM"], "Body": text}


def post_message(tenant: dict[str, str], form: dict[str, str]) -> urllib3.BaseHTTPResponse:
    """Post the form with basic authentication."""
    user = f"{tenant['twilio_account_sid']}:{tenant['twilio_auth_token']}"
    headers = {
        "Authorization": f"Basic {base64.b64encode(user.encode()).decode()}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return urllib3.PoolManager().request(
        "POST", tenant["twilio_api_url"], body=urlencode(form), headers=headers, timeout=10.0
    )
