"""Environment -> Settings: every setting of the app, typed and documented in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

CONNECTION = "IkeStreamHub"
"""The connection of the Event Hubs trigger: alone the name of a connection string, with `__...` of an identity's parts.
The Functions host gives it this meaning; what is read here must be understood as the host understands it."""

NAMESPACE = f"{CONNECTION}__fullyQualifiedNamespace"
CREDENTIAL = f"{CONNECTION}__credential"
CLIENT_ID = f"{CONNECTION}__clientId"
HUB_NAME = "IKESTREAM_HUB_NAME"
CONSUMER_GROUP = "IKESTREAM_CONSUMER_GROUP"

STORE = "IkeStreamStore"
STORE_URI = f"{STORE}__tableServiceUri"
TABLE = "IKESTREAM_TABLE"
DEFAULT_TABLE = "ikestream"

WEBHOOKS = "IKESTREAM_WEBHOOKS"
PEERS = "IKESTREAM_PEERS"

DEAD_LETTER_HUB = "IKESTREAM_DEAD_LETTER_HUB"
INGESTION_ENDPOINT = "IKESTREAM_INGESTION_ENDPOINT"
DCR_ID = "IKESTREAM_DCR_ID"

INVENTORY = "IKESTREAM_INVENTORY"
RESOURCE_MANAGER = "IKESTREAM_RESOURCE_MANAGER"
DEFAULT_RESOURCE_MANAGER = "https://management.azure.com"
MOST_SCOPES = 100

SITE = "WEBSITE_SITE_NAME"
REGION = "REGION_NAME"

NAMES = (
    CONNECTION, NAMESPACE, CREDENTIAL, CLIENT_ID, HUB_NAME, CONSUMER_GROUP, STORE, STORE_URI, TABLE, WEBHOOKS, PEERS,
    DEAD_LETTER_HUB, INGESTION_ENDPOINT, DCR_ID, INVENTORY, RESOURCE_MANAGER,
)  # fmt: skip
"""Every setting that is the app's own; infra/settings.md has a row for each."""
PLATFORM = (SITE, REGION)
"""What App Service itself tells every app; nobody sets it."""

_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+")
_ENDPOINT = re.compile(rf"https://{_HOST_NAME.pattern}(:[0-9]{{1,5}})?/?")
_ENTITY_NAME = re.compile(r"[$A-Za-z0-9][A-Za-z0-9._-]{0,255}")
_TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
_RULE_ID = re.compile(r"dcr-[0-9a-f]{32}")
_SCOPE = re.compile(
    r"/subscriptions/[0-9a-f-]{1,64}/resourceGroups/[\w.()-]{1,90}"
    r"(/providers/Microsoft\.Network/(virtualNetworkGateways|vpnGateways)/[\w.-]{1,80})?",
    re.IGNORECASE,
)
_CLIENT_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class BadSetting(Exception):  # noqa: N818 - reads as what it is
    """A setting that cannot be used; the message names it and says what it must look like, never what it holds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the app needs to know. Without any of it the app loads, and works on what it is handed."""

    connection_string: str = ""
    """`IkeStreamHub`: a connection string instead of an identity, for a local hub. A secret: never logged."""
    namespace: str = ""
    """`IkeStreamHub__fullyQualifiedNamespace`: `<name>.servicebus.windows.net`, read with an identity."""
    managed_identity: bool = False
    """`IkeStreamHub__credential`: `managedidentity`; absent means whoever is signed in, as on a developer's machine."""
    client_id: str = ""
    """`IkeStreamHub__clientId`: the client id of the user-assigned identity; '' for the system-assigned one."""
    hub_name: str = ""
    """`IKESTREAM_HUB_NAME`: the event hub that the gateways' diagnostic settings stream to."""
    consumer_group: str = ""
    """`IKESTREAM_CONSUMER_GROUP`: a consumer group of this app's own."""
    store_connection_string: str = ""
    """`IkeStreamStore`: a connection string of a storage account instead of an identity, for Azurite. A secret."""
    store_uri: str = ""
    """`IkeStreamStore__tableServiceUri`: `https://<account>.table.core.windows.net`, used with the same identity."""
    table: str = DEFAULT_TABLE
    """`IKESTREAM_TABLE`: the table that what is known is kept in; created if it is not there."""
    webhooks: str = ""
    """`IKESTREAM_WEBHOOKS`: who is told, as JSON; `notify.load_webhooks` reads it. Holds secrets: never logged."""
    peers: str = ""
    """`IKESTREAM_PEERS`: whose the other ends are, as JSON; `notify.load_peers` reads it."""
    dead_letter_hub: str = ""
    """`IKESTREAM_DEAD_LETTER_HUB`: the event hub that takes what cannot be used, in the namespace of the other one."""
    ingestion_endpoint: str = ""
    """`IKESTREAM_INGESTION_ENDPOINT`: where rows for Log Analytics are sent, an https address."""
    rule: str = ""
    """`IKESTREAM_DCR_ID`: the immutable id of the data collection rule that takes them, `dcr-` and 32 digits."""
    inventory: tuple[str, ...] = ()
    """`IKESTREAM_INVENTORY`: resource ids of resource groups or gateways, divided by commas, whose configuration is read."""
    resource_manager: str = DEFAULT_RESOURCE_MANAGER
    """`IKESTREAM_RESOURCE_MANAGER`: where it is read, the https address of a cloud's Resource Manager."""
    app_name: str = ""
    """`WEBSITE_SITE_NAME`: the name of the app, '' outside Azure."""
    region: str = ""
    """`REGION_NAME`: the region the app runs in, '' outside Azure."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Settings(namespace={self.namespace!r}, hub_name={self.hub_name!r}, consumer_group={self.consumer_group!r})"

    @property
    def has_hub(self) -> bool:
        """Whether there is a hub to ask how far it is written."""
        return bool(self.hub_name and (self.namespace or self.connection_string))

    @property
    def has_dead_letter_hub(self) -> bool:
        """Whether there is a hub to put aside what cannot be used."""
        return bool(self.dead_letter_hub and (self.namespace or self.connection_string))

    @property
    def has_tables(self) -> bool:
        """Whether there are tables in Log Analytics to write into."""
        return bool(self.ingestion_endpoint and self.rule)


def load(environment: Mapping[str, str]) -> Settings:
    """Return the settings in `environment`. Raises `BadSetting` for one that is there and unusable, or lacks another.

    What is absent altogether is no error: the host names an unset `%...%` itself, and the app must load from the
    first day.
    """
    value = {name: environment.get(name, "").strip() for name in (*NAMES, *PLATFORM)}
    if value[CONNECTION] and value[NAMESPACE]:
        raise BadSetting(f"{CONNECTION} and {NAMESPACE} are both set: keep the identity and remove {CONNECTION}")
    if value[NAMESPACE] and not _HOST_NAME.fullmatch(value[NAMESPACE]):
        raise BadSetting(f"{NAMESPACE} must be a host name such as contoso.servicebus.windows.net")
    if value[CREDENTIAL].lower() not in ("", "managedidentity"):
        raise BadSetting(f"{CREDENTIAL} must be managedidentity, or absent for whoever is signed in")
    if value[CLIENT_ID] and not _CLIENT_ID.fullmatch(value[CLIENT_ID]):
        raise BadSetting(f"{CLIENT_ID} must be the client id of an identity, a GUID")
    for name in (HUB_NAME, CONSUMER_GROUP):
        if value[name] and not _ENTITY_NAME.fullmatch(value[name]):
            raise BadSetting(f"{name} must be a name: letters, digits, periods, hyphens and underscores")
        if not value[name] and (value[CONNECTION] or value[NAMESPACE]):
            raise BadSetting(f"{name} is missing: there is a connection, but not what to read from it")
    if value[STORE] and value[STORE_URI]:
        raise BadSetting(f"{STORE} and {STORE_URI} are both set: keep the identity and remove {STORE}")
    if value[STORE_URI] and not re.fullmatch(rf"https://{_HOST_NAME.pattern}/?", value[STORE_URI]):
        raise BadSetting(f"{STORE_URI} must be an address such as https://contoso.table.core.windows.net")
    if value[TABLE] and not _TABLE_NAME.fullmatch(value[TABLE]):
        raise BadSetting(f"{TABLE} must have 3 to 63 letters and digits and begin with a letter")
    _check(value[CONNECTION], value[HUB_NAME])
    _check_store(value[STORE])
    _check_dead_letter_hub(value[DEAD_LETTER_HUB], value[HUB_NAME])
    _check_tables(value[INGESTION_ENDPOINT], value[DCR_ID])
    scopes = _scopes(value[INVENTORY])
    if value[RESOURCE_MANAGER] and not re.fullmatch(_ENDPOINT, value[RESOURCE_MANAGER]):
        raise BadSetting(f"{RESOURCE_MANAGER} must be an address such as {DEFAULT_RESOURCE_MANAGER}")
    return Settings(
        connection_string=value[CONNECTION],
        namespace=value[NAMESPACE],
        managed_identity=bool(value[CREDENTIAL]),
        client_id=value[CLIENT_ID],
        hub_name=value[HUB_NAME],
        consumer_group=value[CONSUMER_GROUP],
        store_connection_string=value[STORE],
        store_uri=value[STORE_URI],
        table=value[TABLE] or DEFAULT_TABLE,
        webhooks=value[WEBHOOKS],
        peers=value[PEERS],
        dead_letter_hub=value[DEAD_LETTER_HUB],
        ingestion_endpoint=value[INGESTION_ENDPOINT],
        rule=value[DCR_ID],
        inventory=scopes,
        resource_manager=value[RESOURCE_MANAGER].rstrip("/") or DEFAULT_RESOURCE_MANAGER,
        app_name=value[SITE],
        region=value[REGION],
    )


def _check(connection_string: str, hub_name: str) -> None:
    if not connection_string:
        return
    parts = dict(part.partition("=")[::2] for part in connection_string.split(";") if part)
    given = {name.strip().lower(): content.strip() for name, content in parts.items()}
    if not given.get("endpoint", "").lower().startswith("sb://"):
        raise BadSetting(f"{CONNECTION} must be an Event Hubs connection string: it begins with Endpoint=sb://")
    if not (given.get("sharedaccesskeyname") and given.get("sharedaccesskey")):
        raise BadSetting(f"{CONNECTION} must hold SharedAccessKeyName and SharedAccessKey")
    # The host lets the string's EntityPath overrule the binding, the SDK does not: the app would learn from one hub
    # and ask another how far it is written.
    if given.get("entitypath", hub_name).lower() != hub_name.lower():
        raise BadSetting(f"{CONNECTION} has another EntityPath than {HUB_NAME}: remove EntityPath from it")


def _check_store(connection_string: str) -> None:
    parts = dict(part.partition("=")[::2] for part in connection_string.split(";") if part)
    given = {name.strip().lower() for name, content in parts.items() if content.strip()}
    if connection_string and not ({"accountname", "accountkey"} <= given):
        raise BadSetting(f"{STORE} must be a storage connection string: it holds AccountName and AccountKey")


def _check_dead_letter_hub(name: str, hub_name: str) -> None:
    if name and not _ENTITY_NAME.fullmatch(name):
        raise BadSetting(f"{DEAD_LETTER_HUB} must be a name: letters, digits, periods, hyphens and underscores")
    # What cannot be read would be put aside where it is read from, for ever.
    if name and name.lower() == hub_name.lower():
        raise BadSetting(f"{DEAD_LETTER_HUB} must be another event hub than {HUB_NAME}")


def _scopes(text: str) -> tuple[str, ...]:
    found = {scope.lower(): scope for scope in (part.strip().rstrip("/") for part in text.split(",")) if scope}
    if len(found) > MOST_SCOPES or not all(_SCOPE.fullmatch(scope) for scope in found.values()):
        raise BadSetting(
            f"{INVENTORY} must be at most {MOST_SCOPES} resource ids, divided by commas: of resource groups"
            " (/subscriptions/.../resourceGroups/...) or of VPN gateways in them"
        )
    return tuple(scope for _, scope in sorted(found.items()))


def _check_tables(endpoint: str, rule: str) -> None:
    if endpoint and not re.fullmatch(_ENDPOINT, endpoint):
        raise BadSetting(
            f"{INGESTION_ENDPOINT} must be an address such as https://contoso.westeurope-1.ingest.monitor.azure.com"
        )
    if rule and not _RULE_ID.fullmatch(rule):
        raise BadSetting(f"{DCR_ID} must be the immutable id of a data collection rule: dcr- and 32 digits")
    if bool(endpoint) != bool(rule):
        given, missing = (INGESTION_ENDPOINT, DCR_ID) if endpoint else (DCR_ID, INGESTION_ENDPOINT)
        raise BadSetting(f"{missing} is missing: {given} is set, and neither is of use alone")
