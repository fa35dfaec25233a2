"""Environment -> Settings: every setting of the app, typed and documented in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CONNECTION = "IkeStreamHub"
"""Prefix of the Event Hub connection's settings: `IkeStreamHub` (a connection string) or
`IkeStreamHub__fullyQualifiedNamespace` with `IkeStreamHub__credential` and `IkeStreamHub__clientId` (an identity)."""

HUB_NAME = "IKESTREAM_HUB_NAME"
CONSUMER_GROUP = "IKESTREAM_CONSUMER_GROUP"


class BadSetting(Exception):  # noqa: N818 - reads as what it is
    """A setting that cannot be used; the message names it and says what it must look like."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the app needs to know. Without any of it the app loads, and works on what it is handed."""

    hub_name: str = ""
    """`IKESTREAM_HUB_NAME`: the event hub that the gateways' diagnostic settings stream to."""
    consumer_group: str = ""
    """`IKESTREAM_CONSUMER_GROUP`: a consumer group of this app's own."""
    namespace: str = ""
    """`IkeStreamHub__fullyQualifiedNamespace`: `<name>.servicebus.windows.net`, read with a managed identity."""
    client_id: str = ""
    """`IkeStreamHub__clientId`: the client id of the user-assigned identity; '' for the system-assigned one."""
    connection_string: str = ""
    """`IkeStreamHub`: a connection string instead of an identity, for a local hub. A secret: never logged."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Settings(hub_name={self.hub_name!r}, consumer_group={self.consumer_group!r}, namespace={self.namespace!r})"

    @property
    def has_hub(self) -> bool:
        """Whether there is a hub to ask how far it is written."""
        return bool(self.hub_name and (self.namespace or self.connection_string))


def load(environment: Mapping[str, str]) -> Settings:
    """Return the settings in `environment`. Raises `BadSetting` for one that is there and unusable."""
    settings = Settings(
        hub_name=environment.get(HUB_NAME, "").strip(),
        consumer_group=environment.get(CONSUMER_GROUP, "").strip(),
        namespace=environment.get(f"{CONNECTION}__fullyQualifiedNamespace", "").strip(),
        client_id=environment.get(f"{CONNECTION}__clientId", "").strip(),
        connection_string=environment.get(CONNECTION, "").strip(),
    )
    if settings.namespace and ("/" in settings.namespace or "." not in settings.namespace):
        raise BadSetting(
            f"{CONNECTION}__fullyQualifiedNamespace must be a host name such as contoso.servicebus.windows.net"
        )
    if settings.connection_string and not settings.connection_string.lower().startswith("endpoint="):
        raise BadSetting(f"{CONNECTION} must be an Event Hubs connection string: it begins with Endpoint=sb://")
    if (settings.namespace or settings.connection_string) and not settings.hub_name:
        raise BadSetting(f"{HUB_NAME} is missing: it names the event hub in the namespace")
    return settings
