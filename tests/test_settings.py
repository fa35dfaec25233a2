"""Settings: what is taken, what is refused and how that is said, and that code and page name the same ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from ikestream import settings
from ikestream.settings import BadSetting, Settings, load

CHECKOUT = Path(__file__).parent.parent
SOURCES = [CHECKOUT / "function_app.py", *sorted((CHECKOUT / "ikestream").rglob("*.py"))]
SECRET = "c2VjcmV0LWtleQ=="  # noqa: S105 - what must not be seen
STRING = f"Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey={SECRET}"
TABLES = {
    "IKESTREAM_INGESTION_ENDPOINT": "https://contoso-abcd.westeurope-1.ingest.monitor.azure.com",
    "IKESTREAM_DCR_ID": "dcr-00000000000000000000000000000001",
}
SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
GROUP = f"{SUBSCRIPTION}/resourceGroups/rg-vpn_(1)"
READ = {"IKESTREAM_HUB_NAME": "vpn-logs", "IKESTREAM_CONSUMER_GROUP": "ikestream"}


def test_nothing_set_is_no_error() -> None:
    assert load({}) == Settings()
    assert not load({}).has_hub
    assert not load(READ).has_hub


def test_an_identity() -> None:
    found = load(
        READ
        | {
            "IkeStreamHub__fullyQualifiedNamespace": " contoso.servicebus.windows.net ",
            "IkeStreamHub__credential": "managedIdentity",
            "IkeStreamHub__clientId": "11111111-2222-3333-4444-555555555555",
        }
    )
    assert found == Settings(
        namespace="contoso.servicebus.windows.net",
        managed_identity=True,
        client_id="11111111-2222-3333-4444-555555555555",
        hub_name="vpn-logs",
        consumer_group="ikestream",
    )
    assert found.has_hub


def test_whoever_is_signed_in() -> None:
    assert not load(READ | {"IkeStreamHub__fullyQualifiedNamespace": "contoso.servicebus.windows.net"}).managed_identity


@pytest.mark.parametrize(
    "more", ["", ";", ";EntityPath=vpn-logs", ";EntityPath=VPN-Logs", ";UseDevelopmentEmulator=true"]
)
def test_a_connection_string(more: str) -> None:
    found = load(READ | {"IkeStreamHub": STRING + more})
    assert found.connection_string == STRING + more
    assert found.has_hub


@pytest.mark.parametrize(
    ("given", "named", "told"),
    [
        ({"IkeStreamHub": "secret"}, "IkeStreamHub ", "Endpoint=sb://"),
        ({"IkeStreamHub": "Endpoint=https://contoso/;SharedAccessKey=x"}, "IkeStreamHub ", "Endpoint=sb://"),
        ({"IkeStreamHub": "Endpoint=sb://contoso/;SharedAccessKeyName=x"}, "IkeStreamHub ", "SharedAccessKey"),
        ({"IkeStreamHub": STRING + ";EntityPath=other"}, "IkeStreamHub ", "IKESTREAM_HUB_NAME"),
        ({"IkeStreamHub": STRING, "IKESTREAM_HUB_NAME": ""}, "IKESTREAM_HUB_NAME ", "missing"),
        ({"IkeStreamHub": STRING, "IKESTREAM_CONSUMER_GROUP": " "}, "IKESTREAM_CONSUMER_GROUP ", "missing"),
        ({"IKESTREAM_HUB_NAME": "%HUB%"}, "IKESTREAM_HUB_NAME ", "letters"),
        (
            {"IkeStreamHub__fullyQualifiedNamespace": "sb://contoso.servicebus.windows.net/"},
            "IkeStreamHub__",
            "host name",
        ),
        ({"IkeStreamHub__fullyQualifiedNamespace": "contoso"}, "IkeStreamHub__fully", "host name"),
        ({"IkeStreamHub__fullyQualifiedNamespace": "a.net", "IkeStreamHub": STRING}, "IkeStreamHub ", "both"),
        ({"IkeStreamHub__credential": SECRET}, "IkeStreamHub__credential ", "managedidentity"),
        ({"IkeStreamHub__clientId": SECRET}, "IkeStreamHub__clientId ", "GUID"),
        ({"IkeStreamStore": SECRET}, "IkeStreamStore ", "AccountKey"),
        ({"IkeStreamStore__tableServiceUri": "http://a.net"}, "IkeStreamStore__tableServiceUri ", "https://"),
        ({"IkeStreamStore__tableServiceUri": "https://a.net", "IkeStreamStore": "x"}, "IkeStreamStore ", "both"),
        ({"IKESTREAM_TABLE": "1-" + SECRET}, "IKESTREAM_TABLE ", "letters"),
        ({"IKESTREAM_DEAD_LETTER_HUB": "a/" + SECRET}, "IKESTREAM_DEAD_LETTER_HUB ", "letters"),
        ({"IKESTREAM_DEAD_LETTER_HUB": "VPN-logs"}, "IKESTREAM_DEAD_LETTER_HUB ", "another event hub"),
        (TABLES | {"IKESTREAM_INGESTION_ENDPOINT": "http://a.net"}, "IKESTREAM_INGESTION_ENDPOINT ", "https://"),
        (
            TABLES | {"IKESTREAM_INGESTION_ENDPOINT": f"https://a.net/{SECRET}"},
            "IKESTREAM_INGESTION_ENDPOINT ",
            "https://",
        ),
        (TABLES | {"IKESTREAM_DCR_ID": SECRET}, "IKESTREAM_DCR_ID ", "immutable id"),
        (TABLES | {"IKESTREAM_DCR_ID": ""}, "IKESTREAM_DCR_ID ", "missing"),
        (TABLES | {"IKESTREAM_INGESTION_ENDPOINT": ""}, "IKESTREAM_INGESTION_ENDPOINT ", "missing"),
        *(
            ({"IKESTREAM_INVENTORY": text}, "IKESTREAM_INVENTORY ", "resource ids")
            for text in (
                SECRET,
                "rg-vpn",
                SUBSCRIPTION,
                f"{GROUP}?{SECRET}",
                f"{GROUP}/providers/Microsoft.Network/connections/{SECRET}",
                f"{GROUP}/providers/Microsoft.Network/virtualNetworkGateways/a/b",
                f"{GROUP},{SECRET}",
                f"{GROUP}\nERROR",
                ",".join(f"{GROUP}{n}" for n in range(101)),
            )
        ),
        *(
            ({"IKESTREAM_RESOURCE_MANAGER": text}, "IKESTREAM_RESOURCE_MANAGER ", "https://")
            for text in (f"http://{SECRET}", "management.azure.com", f"https://a.net/{SECRET}", "https://localhost")
        ),
    ],
)
def test_a_wrong_setting_is_named_and_what_it_holds_is_not(given: dict[str, str], named: str, told: str) -> None:
    with pytest.raises(BadSetting) as refused:
        load(READ | given)
    assert str(refused.value).startswith(named)
    assert told in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_hub_for_what_cannot_be_used_is_in_the_namespace_of_the_other() -> None:
    aside = {"IKESTREAM_DEAD_LETTER_HUB": "dead-letters"}
    assert load(READ | aside | {"IkeStreamHub": STRING}).has_dead_letter_hub
    assert not load(READ | aside).has_dead_letter_hub
    assert not load(READ | {"IkeStreamHub": STRING}).has_dead_letter_hub


def test_tables_in_log_analytics() -> None:
    found = load(TABLES)
    assert found.has_tables
    assert (found.ingestion_endpoint, found.rule) == tuple(TABLES.values())
    assert load(TABLES | {"IKESTREAM_INGESTION_ENDPOINT": "https://127.0.0.1:8443/"}).has_tables
    assert not load({}).has_tables


def test_what_is_configured_is_read_of_groups_and_gateways() -> None:
    gateway = f"{SUBSCRIPTION}/resourcegroups/RG/providers/microsoft.network/vpngateways/vpngw-1"
    found = load({"IKESTREAM_INVENTORY": f" {GROUP}/ ,{gateway},, {GROUP.upper()}"})
    assert found.inventory == (GROUP.upper(), gateway)
    assert found.resource_manager == "https://management.azure.com"
    assert load({"IKESTREAM_INVENTORY": " "}).inventory == ()
    other = load({"IKESTREAM_RESOURCE_MANAGER": "https://management.chinacloudapi.cn/"})
    assert other.resource_manager == "https://management.chinacloudapi.cn"


def test_the_app_is_called_what_the_platform_calls_it() -> None:
    found = load({"WEBSITE_SITE_NAME": "ikestream-abc", "REGION_NAME": "West Europe"})
    assert (found.app_name, found.region) == ("ikestream-abc", "West Europe")


def test_a_secret_is_not_shown() -> None:
    store = f"AccountName=contoso;AccountKey={SECRET}"
    assert SECRET not in repr(load(READ | {"IkeStreamHub": STRING, "IkeStreamStore": store}))


class Asked(Mapping[str, str]):
    """An environment that notes what is asked of it."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the environment is looked through")

    def __len__(self) -> int:
        return 0


def test_every_setting_is_read_and_no_other() -> None:
    asked = Asked()
    load(asked)
    assert asked.names == {*settings.NAMES, *settings.PLATFORM}


def test_the_environment_is_read_in_one_place() -> None:
    """`os.environ` is handed to `settings.load` by the app; nothing else looks at it, but commands for the one variable
    that `--connection-string-env` names."""
    readers = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if name in ("environ", "environb", "getenv"):
                readers.add(source.name)
    assert readers == {"function_app.py", "hubs.py"}
    commands = ast.unparse(ast.parse((CHECKOUT / "ikestream/hubs.py").read_text("utf-8")))
    assert re.findall(r"os\.environ.*?\)", commands) == ["os.environ.get(variable, '')"]


def test_every_name_in_the_sources_is_a_setting() -> None:
    """Also in the words: a docstring that names a setting which does not exist misleads."""
    prefixed = re.compile(r"\bIKESTREAM_[A-Z0-9_]+|\bIkeStream(?:Hub|Store)\b(?:__\w+)?")
    found = {name for source in SOURCES for name in prefixed.findall(source.read_text("utf-8"))}
    assert found <= set(settings.NAMES)


def test_every_field_says_which_setting_it_is() -> None:
    source = ast.parse((CHECKOUT / "ikestream" / "settings.py").read_text("utf-8"))
    (body,) = (node.body for node in source.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    documented = [
        after.value.value
        for field, after in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    ]
    assert {str(text).split("`")[1] for text in documented} == {*settings.NAMES, *settings.PLATFORM}
    assert len(documented) == len(settings.NAMES) + len(settings.PLATFORM)


def test_the_page_has_a_row_for_each() -> None:
    table = (CHECKOUT / "infra/settings.md").read_text("utf-8").split("<!-- settings -->")[1].split("<!-- end -->")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == set(settings.NAMES)
