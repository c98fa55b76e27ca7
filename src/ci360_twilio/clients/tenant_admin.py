"""A stack's tenants as AWS keeps them: a secret with the document, and a key of the gateway's.

Of a tenant the key's value stands in both, so that the gateway lets the key in, and the function sees whose
it is. What is changed here is changed so that a failure in between leaves all as it was, or lets nobody in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ci360_twilio.aws import code_of, explained, make_client
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import AwsFailed, NotKnown

STACK_TAG, TENANT_TAG = "ci360-twilio-stack", "ci360-twilio-tenant"
RECOVERY_DAYS = 30
"""For how long a secret that was removed can be had back."""


class Listed(NamedTuple):
    """A tenant, as far as it is set up."""

    tenant_id: str
    has_secret: bool
    keys: int
    """Its keys that the gateway lets in."""
    changed_at: Any = None


class TenantAdmin:
    """The tenants of one stack."""

    def __init__(self, stack: str, prefix: str, plan: str, region: str | None = None) -> None:
        """Make it.

        Args:
            stack: its name.
            prefix: what stands before a tenant's id in the name of its secret.
            plan: the id of the stack's usage plan.
            region: where it is; the process's own unless told.
        """
        self._stack, self._prefix, self._plan = stack, prefix, plan
        self._vault = make_client("secretsmanager", region)
        self._door = make_client("apigateway", region)

    def document(self, tenant_id: TenantId) -> dict[str, Any] | None:
        """Read a tenant's document; ``None`` where it has no secret, or one that was removed.

        Raises:
            AwsFailed: the secret cannot be read.
            NotKnown: the secret is no document.
        """
        with explained("read the tenant's secret"):
            try:
                found = self._vault.get_secret_value(SecretId=f"{self._prefix}{tenant_id}")
            except Exception as exc:
                if code_of(exc) in ("ResourceNotFoundException", "InvalidRequestException"):
                    return None
                raise
        try:
            document = json.loads(found.get("SecretString", ""))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise NotKnown(f"The secret {self._prefix}{tenant_id} is there, and holds no document.")
        return document

    def had_back(self, tenant_id: TenantId) -> bool:
        """Have a secret back that was removed; tells whether there was one."""
        name = f"{self._prefix}{tenant_id}"
        with explained("have the removed secret back"):
            try:
                if "DeletedDate" not in self._vault.describe_secret(SecretId=name):
                    return False
            except Exception as exc:
                if code_of(exc) == "ResourceNotFoundException":
                    return False
                raise
            self._vault.restore_secret(SecretId=name)
        return True

    def keys(self, tenant_id: TenantId) -> dict[str, str]:
        """Give the values of the tenant's keys that the gateway lets in, by the keys' ids."""
        with explained("list the gateway's keys"):
            return {
                one["id"]: one["value"]
                for one in self._plan_keys()
                if one["name"] == self._name(tenant_id)
            }

    def put(self, tenant_id: TenantId, document: Mapping[str, Any]) -> None:
        """Write a tenant's document, and have the gateway let in just the keys that it names.

        Keys come first and go last. Where something fails, keys that are new are taken back; where only
        old keys could not be removed, the document is written, and putting it again removes them.

        Raises:
            AwsFailed: it was not done, or not all of it.
        """
        wanted: Sequence[str] = document.get("api_keys", ())
        known = self.keys(tenant_id)
        new: list[str] = []
        try:
            with explained("make the gateway's key"):
                for value in wanted:
                    if value not in known.values():
                        key = self._make_key(tenant_id, value)
                        new.append(key)
            with explained("write the tenant's secret"):
                self._write(tenant_id, json.dumps(document))
        except AwsFailed:
            for key in new:
                with suppress(Exception):
                    drop_key(self._door, self._plan, key)
            raise
        with explained("remove the keys that the document does not name any more"):
            for key, value in known.items():
                if value not in wanted:
                    drop_key(self._door, self._plan, key)

    def _make_key(self, tenant_id: TenantId, value: str) -> str:
        tags = {STACK_TAG: self._stack, TENANT_TAG: tenant_id}
        try:
            made = self._door.create_api_key(
                name=self._name(tenant_id), value=value, enabled=True, tags=tags
            )
        except Exception as exc:
            # Of an attempt that broke off a key may have been left that is in no plan.
            left = self._orphan(tenant_id, value)
            if code_of(exc) != "ConflictException" or left is None:
                raise
            made = left
        try:
            self._door.create_usage_plan_key(
                usagePlanId=self._plan, keyId=made["id"], keyType="API_KEY"
            )
        except Exception:
            self._door.delete_api_key(apiKey=made["id"])
            raise
        return str(made["id"])

    def _orphan(self, tenant_id: TenantId, value: str) -> Any:
        """Find a key of the tenant's that is there already."""
        pages = self._door.get_paginator("get_api_keys").paginate(
            nameQuery=self._name(tenant_id), includeValues=True
        )
        return next((one for page in pages for one in page["items"] if one["value"] == value), None)

    def _write(self, tenant_id: TenantId, text: str) -> None:
        name = f"{self._prefix}{tenant_id}"
        tags = [{"Key": TENANT_TAG, "Value": tenant_id}, {"Key": STACK_TAG, "Value": self._stack}]
        description = f"Tenant {tenant_id} of ci360-twilio"
        try:
            self._vault.put_secret_value(SecretId=name, SecretString=text)
        except Exception as exc:
            if code_of(exc) != "ResourceNotFoundException":
                raise
            self._vault.create_secret(
                Name=name, SecretString=text, Description=description, Tags=tags
            )

    def remove(self, tenant_id: TenantId) -> None:
        """Shut the gateway to a tenant, and remove its secret, which can be had back for a while.

        Raises:
            AwsFailed: it was not done; the gateway may be shut to it already.
        """
        with explained("remove the gateway's keys"):
            for key in self.keys(tenant_id):
                drop_key(self._door, self._plan, key)
        with explained("remove the tenant's secret"):
            try:
                self._vault.delete_secret(
                    SecretId=f"{self._prefix}{tenant_id}", RecoveryWindowInDays=RECOVERY_DAYS
                )
            except Exception as exc:
                if code_of(exc) != "ResourceNotFoundException":
                    raise

    def listed(self) -> list[Listed]:
        """List the tenants: those with a secret, and those with a key alone."""
        with explained("list the tenants' secrets"):
            pages = self._vault.get_paginator("list_secrets").paginate(
                Filters=[{"Key": "name", "Values": [self._prefix]}]
            )
            secrets = {
                one["Name"].removeprefix(self._prefix): one
                for page in pages
                for one in page["SecretList"]
                if one["Name"].startswith(self._prefix)
            }
        with explained("list the gateway's keys"):
            keys = [one["name"].removeprefix(f"{self._stack}/") for one in self._plan_keys()]
        return [
            Listed(name, name in secrets, keys.count(name), _changed_at(secrets.get(name)))
            for name in sorted({*secrets, *keys})
        ]

    def _plan_keys(self) -> list[Any]:
        pages = self._door.get_paginator("get_usage_plan_keys").paginate(usagePlanId=self._plan)
        return [one for page in pages for one in page["items"]]

    def _name(self, tenant_id: TenantId) -> str:
        return f"{self._stack}/{tenant_id}"


def drop_key(door: Any, plan: str, key: str) -> None:
    """Take a key out of a usage plan, and delete it; ``door`` is a client of API Gateway's."""
    door.delete_api_key(apiKey=key)
    try:
        door.delete_usage_plan_key(usagePlanId=plan, keyId=key)
    except Exception as exc:  # it has gone with the key
        if code_of(exc) != "NotFoundException":
            raise


def _changed_at(secret: Mapping[str, Any] | None) -> Any:
    return secret.get("LastChangedDate") if secret else None
