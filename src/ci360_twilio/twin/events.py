"""Events as CI360 posts them, for demonstrations, rehearsals and tests.

The members and which of them are ``null`` follow what CI360's agent posted in July 2025
(sassoftware/ci360-extensions, general agent and SCR gateway samples); all values are our own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_NULL = (
    "apiEventKey customName ipAddress page browser visit domain geofence serviceProvider "
    "stagedOffer beacon obfuscateIpAddress eventSource download eCommerce form internalSearch "
    "media product promotion customGroupName customRevenueDbl journey session activity "
    "contentChange email linkTracking trigger"
)
_IP_INFO = (
    "city cityCode country countryCode region regionCode postalCode metro metroCode timezone lat "
    "lon organizationName industry sicCode domainName companyName areaCode state ip ipProperty "
    "continent"
)
_APP = "sdkName sdkVersion appName appVersion appLanguage appId"
_DEVICE = (
    "deviceType platformVersion platform screenHeight screenWidth screenDepth model manufacturer"
)
_IMPRESSION = (
    "controlGroup goalEvent goalId mergeTagAttributeName mergeTagIaSafeId messageVersionId "
    "occurrenceId recommenderGroup audienceId audienceOccurrenceId requestId spotId spotName "
    "taskName taskType variantName taskAction identityContextType identityContextValue"
)
_IDENTITY = (
    "identityType identitySource identityEventName identityAttribute identityAssociation userId "
    "visitId ipAddress visitorId loginEventType loginType loginValue"
)
_SMS = "countryCode address fragmentCount senderId messageId smsContent"


def outbound_event(
    *,
    guid: str,
    tenant_id: str,
    creative: str,
    generated_at: datetime,
    subject_id: str = "4711",
    identity_id: str = "9f1d2c3b-5a6e-3c4d-8e7f-1a2b3c4d5e6f",
    task_code: str = "TSK_101",
    attributes: Mapping[str, str] | None = None,
    control_group: bool = False,
    response_tracking_code: str = "5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77",
) -> dict[str, Any]:
    """Make the body of one ``outboundSystem`` event of a custom task with a plain text creative."""
    generated = int(generated_at.timestamp() * 1000)
    return {
        "guid": guid,
        **_nulls(_NULL),
        "eventDesignedId": "0c2f4f0f-6a34-4f0e-8c57-6a1f5a3c9b21",
        "eventDesignedName": "SeminarReminder",
        "eventName": "SeminarReminder",
        "eventType": "outboundSystem",
        "sessionId": subject_id,
        "channelId": subject_id,
        "channelType": "external",
        "date": {
            "generatedTimestamp": generated,
            **_nulls("sentTimestamp receivedTimestamp utcOffset"),
        },
        "externalTenantId": tenant_id,
        "internalTenantId": 4242,
        "identityId": identity_id,
        "ipInfo": _nulls(_IP_INFO),
        "properties": {
            "subject_id": subject_id,
            "externalCode": task_code,
            "event_datetime_utc": str(generated),
            "contributing_guid_1": "7b1e02aa-90ab000a-6c5511d2-08fe41aa",
            "parent_eventname": "SeminarSignUp",
            "applicationId": "Website",
            "channel_user_type": "subject_id",
            "parent_event": "external",
        },
        "outboundProperties": {"properties": dict(attributes or {"seminar": "Autumn"})},
        "app": _nulls(_APP),
        "identity": {
            "identityId": identity_id,
            "sessionId": subject_id,
            **_nulls(_IDENTITY),
        },
        "deviceInfo": {
            **_nulls(_DEVICE),
            "isPortableFlag": False,
            **_nulls("deviceLanguage agentFamily"),
        },
        "eventCategory": "unifiedAndEngage",
        "extendedCustomEventWithRevenueFlag": False,
        "parentEventUid": "b8b6d4a6-3f0a-4a27-9d5e-77c0a1e0d9f4",
        "contactResponse": {
            "responseTrackingCode": response_tracking_code,
            **_nulls("contactResponseCode contactResponseTag responseType responseValue"),
        },
        "impression": {
            **_nulls(_IMPRESSION),
            "creativeId": "2a9d7f58-1c3b-4e0f-9d6a-5b8c7e4f3a21",
            "creativeVersionId": "Qm4rT8_xV2nKpLs0WzYbHc7JdFgE1aUi",
            "creativeContent": creative,
            "isControlGroup": control_group,
            "imprintId": "0",
            "messageId": "0",
            "segmentId": "",
            "segmentVersionId": "",
            "taskId": "c1d2e3f4-0a1b-4c2d-8e3f-405162738495",
            "taskVersionId": "Zx81LmNqOpRs2TuVw3XyZa4BcDe5FgHi",
            "variantId": "0",
        },
        "trace": {
            **_nulls("traceId contributingEventGuids"),
            "tracePoints": [
                {
                    "tracePointName": "IASetSV",
                    "tracePointIpAddress": "custom-task-0",
                    "tracePointTimestamp": generated + 1,
                }
            ],
        },
        "ruleVersion": "1",
        "sms": _nulls(_SMS),
        "error": _nulls("reasonCode reasonDescription"),
    }


def outbound_body(**members: Any) -> bytes:
    """Encode :func:`outbound_event` as CI360 sends it; takes the same arguments."""
    return json.dumps(outbound_event(**members)).encode()


def _nulls(names: str) -> dict[str, None]:
    return dict.fromkeys(names.split())
