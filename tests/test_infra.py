"""infra/*.bicep: what the compiler would say as far as a syntax tree shows it, and that it agrees with the app it is for."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ikestream import settings
from ikestream.inventory import resource_manager
from tests import bicep

ROOT = Path(__file__).parent.parent
INFRA = ROOT / "infra"
MAIN = bicep.read(INFRA / "main.bicep")
FILES = [MAIN, *(bicep.read(path) for path in sorted((INFRA / "modules").glob("*.bicep")))]
APP_SETTINGS = bicep.read(INFRA / "modules/app-settings.bicep")
ROLES = bicep.read(INFRA / "modules/roles.bicep")

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.path.name)


# --- the compiler's part ----------------------------------------------------------------------------------------------


@every_file
def test_a_file_is_one_that_compiles(file: bicep.File) -> None:
    assert bicep.syntax_errors(file) == []
    assert bicep.undeclared(file) == []
    assert bicep.misfits(file) == []
    assert bicep.misplaced_loops(file) == []


@every_file
def test_a_file_draws_no_warning(file: bicep.File) -> None:
    assert bicep.unused(file) == []
    assert bicep.undescribed(file) == []
    assert bicep.needless_dependencies(file) == []
    text = file.path.read_text(encoding="utf-8")
    # What the default linter refuses: addresses of one cloud, and a region that is no parameter.
    assert not re.search(
        r"management\.azure\.com|core\.windows\.net|login\.microsoftonline|api\.loganalytics\.io", text
    )
    for name, resource in file.resources.items():
        place = resource.properties().get("location")
        assert place is None or bicep.text(place) in ("location", "'global'"), name
    if file is not MAIN:
        assert "resourceGroup().location" not in text


@every_file
def test_no_output_is_a_secret(file: bicep.File) -> None:
    for output in file.outputs.values():
        assert output.value is not None
        assert not re.search(r"\blist[A-Z]\w*\(", bicep.text(output.value)), output.name
        assert not bicep.is_secret(output.value, file), output.name


@every_file
def test_a_second_deployment_is_the_first_again(file: bicep.File) -> None:
    assert not re.search(r"\b(utcNow|newGuid)\(", file.path.read_text(encoding="utf-8"))


def test_versions_are_pinned_current_and_one_for_each_type() -> None:
    versions: dict[str, set[str]] = {}
    for file in FILES:
        for resource in file.resources.values():
            kind, _, version = resource.path.partition("@")
            versions.setdefault(kind, set()).add(version)
    assert len(versions) > 20
    for kind, found in versions.items():
        assert len(found) == 1, kind
        # Diagnostic settings have had no other version than this preview since 2021.
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", *found) or (kind, found) == (
            "Microsoft.Insights/diagnosticSettings", {"2021-05-01-preview"},
        ), kind  # fmt: skip


def test_modules_are_short_and_each_is_called() -> None:
    called = {file.path.parent / module.path for file in FILES for module in file.modules.values()}
    assert called == {file.path for file in FILES if file is not MAIN}
    for file in FILES:
        if file is not MAIN:
            assert len(file.path.read_text(encoding="utf-8").splitlines()) <= (130 if file is ROLES else 110), (
                file.path.name
            )


def test_the_parameters_file_sets_what_there_is() -> None:
    given = bicep.read(INFRA / "main.bicepparam")
    assert bicep.syntax_errors(given) == []
    assert given.assigned.keys() <= MAIN.parameters.keys()
    assert given.path.read_text(encoding="utf-8").startswith("using './main.bicep'\n")
    required = {name for name, parameter in MAIN.parameters.items() if not parameter.optional}
    assert required <= given.assigned.keys()


def test_every_derived_name_can_be_replaced() -> None:
    use = MAIN.variables["use"].value
    assert use is not None
    derived, overriding = use.named_children[1].named_children
    replaceable = [
        bicep.text(n.named_children[0])
        for n in MAIN.types["resourceNames"].value.named_children
        if n.type == "object_property"
    ]  # type: ignore[union-attr]
    assert sorted(bicep.members(derived)) == sorted(replaceable)
    assert bicep.text(overriding) == "names"


# --- the checker itself -----------------------------------------------------------------------------------------------

GOOD = """
@description('Name.')
param name string

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: name
}

@description('Id.')
output id string = account.id
"""
CALLER = """
@description('Secret.')
@secure()
param secret string

module storage 'module.bicep' = {
  name: 'storage'
  params: {
    name: 'contoso'
  }
}

@description('Id.')
output id string = storage.outputs.id
"""


@pytest.mark.parametrize(
    ("broken", "check", "says"),
    [
        (GOOD.replace("= account.id", "= accont.id"), bicep.undeclared, "accont"),
        (GOOD.replace("= account.id", "= utcNow()"), bicep.undeclared, "utcNow"),
        (GOOD.replace("name: name", "name: 'x${nam}'"), bicep.undeclared, "nam"),
        (GOOD.replace("name: name", "name: 'x'"), bicep.unused, "name"),
        (GOOD.replace("name: name\n}", "name: name\n"), bicep.syntax_errors, "line"),
        (GOOD.replace("@description('Id.')\n", ""), bicep.undescribed, "id"),
        (GOOD + "var loops = { a: [for x in [1]: x] }\n", bicep.misplaced_loops, "line"),
        (GOOD + "var loops = map([1], x => [for y in [x]: y])\n", bicep.misplaced_loops, "line"),
        (GOOD + "type extra = {\n  a: string\n}\n", bicep.undescribed, "extra.a"),
    ],
)
def test_the_checker_sees_a_broken_file(tmp_path: Path, broken: str, check: object, says: str) -> None:
    path = tmp_path / "module.bicep"
    path.write_text(GOOD, encoding="utf-8")
    good = bicep.read(path)
    assert check(good) == []  # type: ignore[operator]
    path = tmp_path / "broken.bicep"
    path.write_text(broken, encoding="utf-8")
    assert any(says in found for found in check(bicep.read(path)))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (CALLER.replace("name: 'contoso'", "nam: 'contoso'"), "takes no nam"),
        (CALLER.replace("    name: 'contoso'\n", ""), "lacks name"),
        (CALLER.replace("name: 'contoso'", "name: 3"), "is string, given int"),
        (CALLER.replace("name: 'contoso'", "name: secret"), "is given a secret"),
        (CALLER.replace("outputs.id", "outputs.name"), "gives no name"),
        (CALLER.replace("module.bicep", "modul.bicep"), "no file"),
        (CALLER + "var text = loadTextContent('a.kql')\n", "no file a.kql"),
    ],
)
def test_the_checker_sees_a_call_that_does_not_fit(tmp_path: Path, call: str, says: str) -> None:
    (tmp_path / "module.bicep").write_text(GOOD, encoding="utf-8")
    good, broken = tmp_path / "good.bicep", tmp_path / "caller.bicep"
    good.write_text(CALLER, encoding="utf-8")
    broken.write_text(call, encoding="utf-8")
    assert bicep.misfits(bicep.read(good)) == []
    assert any(says in found for found in bicep.misfits(bicep.read(broken)))


def test_the_checker_sees_a_dependency_that_stands_there_anyway(tmp_path: Path) -> None:
    path = tmp_path / "a.bicep"
    path.write_text(
        CALLER.replace(
            "  params: {\n    name: 'contoso'\n  }\n", "  params: {\n    name: other.id\n  }\n  dependsOn: [other]\n"
        ),
        encoding="utf-8",
    )
    assert bicep.needless_dependencies(bicep.read(path)) == ["storage: other"]


# --- the app's settings -----------------------------------------------------------------------------------------------

# docs: Functions app settings reference. What the host reads itself; the app does not.
HOST = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
}
# Connection strings are for a developer's machine: in Azure the app signs in with its identity.
LOCAL = {settings.CONNECTION, "IkeStreamStore"}
SECRET_AND_OPTIONAL = {"IKESTREAM_WEBHOOKS", "IKESTREAM_PEERS"}
GROUPS = [f"/subscriptions/00000000-0000-0000-0000-00000000000{n}/resourceGroups/rg-vpn" for n in (1, 2)]


def given_settings() -> dict[str, str]:
    """The names and the expressions of the app's settings."""
    properties = APP_SETTINGS.resources["settings"].properties()["properties"]
    found: dict[str, str] = {}
    for node in bicep.walk(properties):
        if node.type == "object":
            found |= {name: bicep.text(value) for name, value in bicep.members(node).items()}
    return found


def test_the_app_gets_every_setting_it_reads_and_no_other() -> None:
    given = set(given_settings()) - HOST
    assert given == set(settings.NAMES) - LOCAL


def test_the_host_gets_its_settings_and_no_key() -> None:
    given = given_settings()
    assert given.keys() >= HOST
    for name, value in given.items():
        assert not re.search(r"list\w*\(|AccountKey|SharedAccessKey", value), name
    for name in SECRET_AND_OPTIONAL:
        assert "secure" in APP_SETTINGS.parameters[given[name]].decorators


def test_the_app_loads_with_what_it_is_given() -> None:
    sample = {
        "eventHubsHostName": "contoso.servicebus.windows.net",
        "identity.properties.clientId": "00000000-0000-0000-0000-000000000001",
        "storage.properties.primaryEndpoints.table": "https://contoso.table.core.windows.net/",
        "'managedidentity'": "managedidentity",
        "hubName": "vpn-logs",
        "consumerGroupName": "ikestream",
        "tableName": "ikestream",
        "deadLetterHubName": "dead-letters",
        "join(inventoryGroupIds, ',')": ",".join(GROUPS),
        "environment().resourceManager": "https://management.azure.com/",
        "dataCollectionRule.properties.immutableId": "dcr-00000000000000000000000000000001",
        "dataCollectionRule.properties.endpoints.logsIngestion": "https://contoso-abcd.westeurope-1.ingest.monitor.azure.com",
    }
    environment = {n: sample[v] for n, v in given_settings().items() if n not in HOST | SECRET_AND_OPTIONAL}
    loaded = settings.load(environment)
    assert loaded.has_hub
    assert loaded.managed_identity
    assert loaded.client_id == sample["identity.properties.clientId"]
    assert loaded.store_uri.startswith("https://contoso.table")
    assert loaded.has_dead_letter_hub
    assert loaded.has_tables
    assert loaded.inventory == tuple(GROUPS)
    assert loaded.resource_manager == "https://management.azure.com"


# --- rights -----------------------------------------------------------------------------------------------------------

ROLE_NAMES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "a638d3c7-ab3a-418d-83e6-5f17a39d4fde": "Azure Event Hubs Data Receiver",
    "2b629674-e913-4c01-ae53-ef4638d8f975": "Azure Event Hubs Data Sender",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "73c42c96-874c-492b-b04d-ab87d138a893": "Log Analytics Reader",
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": "Reader",
}
HUB = "Microsoft.EventHub/namespaces/eventhubs hubName"
DEAD_LETTERS = "Microsoft.EventHub/namespaces/eventhubs deadLetterHubName"
RULE = "Microsoft.Insights/dataCollectionRules"
ACCOUNT = "Microsoft.Storage/storageAccounts"
GROUP = "the resource group"
# What the code says when it calls an API -> the right it takes, and on what.
CALLS = {
    r"EventHubConsumerClient": ("Azure Event Hubs Data Receiver", HUB),
    r"event_hub_message_trigger": ("Azure Event Hubs Data Receiver", HUB),
    r"EventHubProducerClient": ("Azure Event Hubs Data Sender", DEAD_LETTERS),
    r"azure\.data\.tables": ("Storage Table Data Contributor", ACCOUNT),
    r"azure\.monitor\.ingestion|dataCollectionRules": ("Monitoring Metrics Publisher", RULE),
    r"AsyncPipelineClient": ("Reader", GROUP),
}
# What nobody's Python calls: the host's package, checkpoints and leases, its telemetry, and the rules' queries.
OTHERS = {
    ("appPrincipalId", "Storage Blob Data Owner", ACCOUNT),
    ("appPrincipalId", "Monitoring Metrics Publisher", "Microsoft.Insights/components"),
    ("readerPrincipalId", "Log Analytics Reader", "Microsoft.OperationalInsights/workspaces"),
    ("principalId", "Azure Event Hubs Data Sender", HUB),  # whoever runs the drill, or sends back what was put aside
    ("principalId", "Azure Event Hubs Data Receiver", DEAD_LETTERS),
}


def assignments() -> set[tuple[str, str, str]]:
    """Who has which role on what."""
    found = set()
    for resource in ROLES.resources.values():
        if resource.type == "Microsoft.Authorization/roleAssignments":
            given = resource.properties()
            held = bicep.members(given["properties"])
            if "scope" not in given:  # the right of a whole group, the role of which main.bicep may be told
                role = MAIN.parameters["inventoryRole"].value
                assert role is not None
                assert bicep.text(held["roleDefinitionId"]).endswith("(definitions, configurationRole)")
                found.add((bicep.text(held["principalId"]), ROLE_NAMES[bicep.literal(role)], GROUP))
                continue
            scope = ROLES.resources[bicep.text(given["scope"]).rpartition("::")[2]]
            role = ROLES.variables[bicep.text(held["roleDefinitionId"])].value
            assert role is not None
            guid = bicep.literal(role.named_children[1].named_children[1])
            on = f"{scope.type} {bicep.text(scope.properties()['name'])}" if "/eventhubs" in scope.type else scope.type
            found.add((bicep.text(held["principalId"]), ROLE_NAMES[guid], on))
    return found


def test_the_app_may_do_what_its_code_does_and_nothing_else() -> None:
    source = "\n".join(
        p.read_text(encoding="utf-8") for p in [ROOT / "function_app.py", *(ROOT / "ikestream").rglob("*.py")]
    )
    needed = {("appPrincipalId", *right) for call, right in CALLS.items() if re.search(call, source)}
    known = {("appPrincipalId", *right) for right in CALLS.values()} | OTHERS
    assert len(needed) >= 2
    assert needed | OTHERS <= assignments()
    assert assignments() <= known


def test_rights_are_given_in_one_file_and_their_names_last() -> None:
    for file in FILES:
        for resource in file.resources.values():
            if resource.type == "Microsoft.Authorization/roleAssignments":
                assert file is ROLES
                assert bicep.text(resource.properties()["name"]).startswith("guid(")


def test_what_is_configured_is_read_of_those_groups_that_the_app_is_told_of() -> None:
    rights = MAIN.modules["rolesOnGateways"]
    assert bicep.members(rights.properties()["params"]).keys() == {"appPrincipalId", "configurationRole"}
    assert "[for id in inventoryGroupIds:" in bicep.text(rights.node)
    assert bicep.text(rights.properties()["scope"]) == "resourceGroup(split(id, '/')[2], split(id, '/')[4])"
    told = bicep.members(MAIN.modules["appSettings"].properties()["params"])
    assert bicep.text(told["inventoryGroupIds"]) == "inventoryGroupIds"


def test_the_role_that_the_readme_describes_reads_what_the_app_asks_for_and_no_key() -> None:
    readme = (ROOT / "infra/README.md").read_text(encoding="utf-8")
    (written,) = re.findall(r"--role-definition '(\{.*?\})'", readme, re.DOTALL)
    role = json.loads(written)
    asked = {kind.lower() for kind in re.findall(r"[A-Za-z]+(?=\b)", resource_manager._PATHS.pattern)}
    actions = {action.lower() for action in role["Actions"]}
    assert all(re.fullmatch(r"microsoft\.network/[a-z/]+/read", action) for action in actions)
    kinds = {part for action in actions for part in action.split("/")[1:-1]}
    assert kinds == {
        "connections", "localnetworkgateways", "publicipaddresses", "virtualnetworkgateways",
        "vpnconnections", "vpngateways", "vpnsites",
    }  # fmt: skip
    assert kinds <= asked
    assert not role.keys() & {"DataActions", "NotActions"}


def test_every_right_is_given_where_its_scope_is() -> None:
    named = [
        bicep.members(m.properties()["params"]).keys() for m in MAIN.modules.values() if m.path.endswith("/roles.bicep")
    ]
    assert set().union(*named) == ROLES.parameters.keys()


# --- what the issue promises ------------------------------------------------------------------------------------------


def the(name: str, file: str) -> dict[str, object]:
    """The properties of a resource, all levels, as text by their last name."""
    found: dict[str, object] = {}
    for node in bicep.walk(bicep.read(INFRA / f"modules/{file}.bicep").resources[name].body):
        if node.type == "object":
            found |= {key: bicep.text(value) for key, value in bicep.members(node).items()}
    return found


def test_the_hub_is_as_promised() -> None:
    assert the("namespace", "event-hubs")["tier"] == "'Standard'"
    logs = the("logs", "event-hubs")
    assert (logs["partitionCount"], logs["messageRetentionInDays"]) == ("4", "7")
    assert "app" in bicep.read(INFRA / "modules/event-hubs.bicep").resources  # a consumer group of its own
    # Diagnostic settings take no other rule.
    assert the("diagnosticSettings", "event-hubs")["rights"] == "['Listen', 'Manage', 'Send']"


def test_storage_takes_identities_only() -> None:
    account = the("account", "storage")
    assert account["allowSharedKeyAccess"] == "false"
    assert account["allowBlobPublicAccess"] == "false"
    assert account["minimumTlsVersion"] == "'TLS1_2'"
    assert account["supportsHttpsTrafficOnly"] == "true"


def test_the_app_is_as_promised() -> None:
    assert the("plan", "plan")["tier"] == "'FlexConsumption'"
    app = the("app", "app")
    assert app["httpsOnly"] == "true"
    assert (app["minTlsVersion"], app["scmMinTlsVersion"], app["ftpsState"]) == ("'1.2'", "'1.2'", "'Disabled'")
    assert (app["type"], app["version"]) == ("'UserAssignedIdentity'", "'3.12'")
    trigger = re.search(r"'function:(\w+)'", str(app["alwaysReady"]))
    assert trigger
    assert trigger[1] in functions()


def functions() -> set[str]:
    """The names of the app's functions."""
    tree = ast.parse((ROOT / "function_app.py").read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "app.function_name"]
    return {ast.literal_eval(call.args[0]) for call in calls}


def test_tables_and_rule_take_their_columns_from_the_one_list() -> None:
    loaded = re.findall(r"loadJsonContent\('(tables/\w+\.json)'\)", MAIN.path.read_text(encoding="utf-8"))
    assert sorted(loaded) == sorted(str(p.relative_to(INFRA)) for p in (INFRA / "tables").glob("*.json"))
    assert the("rule", "data-collection-rule")["kind"] == "'Direct'"
    assert the("refusedRows", "data-collection-rule")["category"] == "'LogErrors'"
    assert the("customTables", "tables")["plan"] == "'Analytics'"


@pytest.mark.parametrize("path", sorted((INFRA / "tables").glob("*.json")), ids=lambda path: path.stem)
def test_a_column_is_one_that_azure_takes(path: Path) -> None:
    table = json.loads(path.read_text(encoding="utf-8"))
    assert table["name"] == f"{path.stem}_CL"
    assert table["stream"] == f"Custom-{table['name']}"
    reserved = {
        "id", "billedsize", "isbillable", "invalidtimegenerated", "tenantid", "title", "type", "uniqueid", "_itemid",
        "_resourcegroup", "_resourceid", "_subscriptionid", "_timereceived",
    }  # fmt: skip
    names = [column["name"] for column in table["columns"]]
    assert len(set(map(str.lower, names))) == len(names)
    assert "TimeGenerated" in names
    for column in table["columns"]:
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{1,44}", column["name"])
        assert column["name"].lower() not in reserved
        assert column["type"] in ("string", "int", "long", "real", "boolean", "datetime", "dynamic")
        assert column["description"]


def test_the_host_file_agrees_with_the_documented_schema() -> None:
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    assert host["version"] == "2.0"
    assert host["extensionBundle"]["id"] == "Microsoft.Azure.Functions.ExtensionBundle"
    documented = {
        "maxEventBatchSize", "minEventBatchSize", "maxWaitTime", "batchCheckpointFrequency", "prefetchCount",
        "transportType", "initialOffsetOptions", "clientRetryOptions", "targetUnprocessedEventThreshold",
        "webProxy", "customEndpointAddress", "enableCheckpointing",
    }  # fmt: skip
    hubs = host["extensions"]["eventHubs"]
    assert hubs.keys() <= documented
    # More than one can hinder scaling in, and a crash would repeat more.
    assert hubs["batchCheckpointFrequency"] == 1
    assert hubs["prefetchCount"] >= hubs["maxEventBatchSize"]
    assert host.keys() <= {
        "version", "logging", "extensionBundle", "extensions", "functionTimeout", "healthMonitor", "retry", "singleton",
        "concurrency", "telemetryMode", "aggregator", "managedDependency", "watchDirectories",
    }  # fmt: skip
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    assert hours * 3600 + minutes * 60 + seconds > 0


def test_the_package_that_is_published_holds_the_tables_and_no_deployment() -> None:
    ignored = (ROOT / ".funcignore").read_text(encoding="utf-8").splitlines()
    assert {"infra/*.bicep", "infra/modules", "infra/queries", "infra/workbooks"} <= set(ignored)
    assert not {"infra", "infra/", "infra/tables"} & set(ignored)


# --- the security lint ------------------------------------------------------------------------------------------------

# What checkov finds, and why it stands.
JUSTIFIED = {
    "CKV_AZURE_35": "the firewall is closed by privateNetwork; without it keys are off and only identities get in",
    "CKV_AZURE_206": "zoneRedundant replicates; what is lost with a zone is a day of facts, and rows are in Log Analytics",
    "CKV_AZURE_225": "zoneRedundant, where the region has zones",
    "CKV_AZURE_222": "publishing and the health endpoint use the site's address; no function takes a body over HTTP",
    "CKV_AZURE_17": "the health endpoint is for probes, which have no client certificate",
    "CKV_AZURE_212": "Flex Consumption has no minimum number of workers; alwaysReady is its counterpart",
    "CKV_AZURE_213": "Flex Consumption has no health check setting; the health endpoint and the rule for silence stand for it",
}
# Its parser knows neither types, lambdas nor some functions: those files it cannot read.
UNREADABLE = {
    "main.bicep", "alert-rules.bicep", "app-settings.bicep", "data-collection-rule.bicep", "gateway-logs.bicep",
    "private-network.bicep", "tables.bicep",
}  # fmt: skip
CHECKOV = Path(sys.prefix) / "checkov"


@pytest.mark.skipif(not CHECKOV.is_dir(), reason="checkov is not installed here: run `make emulators`")
def test_the_security_lint_is_clean_or_each_exception_is_justified() -> None:
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "checkov.main", "-d", str(INFRA), "--framework", "bicep", "--skip-download", "-o", "json"],
        env={**os.environ, "PYTHONPATH": str(CHECKOV), "LOG_LEVEL": "ERROR"},
        capture_output=True, check=False, encoding="utf-8", timeout=300,
    )  # fmt: skip
    answer = json.loads(run.stdout)
    assert answer["summary"]["passed"] >= 20
    assert {f["check_id"] for f in answer["results"]["failed_checks"]} == JUSTIFIED.keys()
    assert {Path(path).name for path in answer["results"]["parsing_errors"]} == UNREADABLE
