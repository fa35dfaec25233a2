"""infra/queries and infra/workbooks: every query binds, keeps the limits of alert rules, and answers over the core's rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ikestream.batch import learn
from ikestream.estate import Estate
from ikestream.events import Record
from ikestream.finding import Advisory
from ikestream.incident import Row
from ikestream.lab import faults
from ikestream.lab.bench import Lab
from ikestream.lab.delivery import PROMPT, post
from ikestream.lab.policy import Policy, matching_policy, miss
from ikestream.lab.site import UP_FIRST, Site
from ikestream.offers import Phase
from ikestream.times import DAY, HOUR, MINUTE, TICK
from tests import bicep
from tests.emulators import kql
from tests.emulators.alerts import Alert, Rule, raised
from tests.streams import GATEWAY, START, in_order, last, run_on, run_until
from tests.test_together import fallen, tunnel

INFRA = Path(__file__).parent.parent / "infra"
QUERIES = {
    str(p.relative_to(INFRA / "queries")): p.read_text(encoding="utf-8")
    for p in sorted((INFRA / "queries").rglob("*.kql"))
}
ALERTS = [INFRA / f"modules/{about}-alerts.bicep" for about in ("incident", "monitor")]
WORKBOOK = json.loads((INFRA / "workbooks/ikestream.json").read_text(encoding="utf-8"))

DIAGNOSIS, HEALTH = "IkeDiagnosis_CL", "IkeStreamHealth_CL"
TABLES: dict[str, kql.Columns] = {
    table["name"]: [(c["name"], c["type"]) for c in table["columns"]]
    for table in (json.loads(p.read_text(encoding="utf-8")) for p in (INFRA / "tables").glob("*.json"))
} | {
    # docs: tables/azurediagnostics, tables/dcrlogerrors; those of their columns that a gateway or a rule writes.
    "AzureDiagnostics": [
        ("TimeGenerated", "datetime"), ("Category", "string"), ("OperationName", "string"), ("Resource", "string"),
        ("ResourceId", "string"), ("Level", "string"), ("Message", "string"), ("instance_s", "string"),
    ],
    "DCRLogErrors": [
        ("TimeGenerated", "datetime"), ("OperationName", "string"), ("InputStreamId", "string"), ("Message", "string"),
        ("CorrelationId", "string"), ("_ResourceId", "string"),
    ],
}  # fmt: skip
binds = pytest.mark.skipif(bool(kql.missing()), reason=kql.missing() or "the binder is here")


def workbook_queries(items: Iterable[dict[str, Any]] = WORKBOOK["items"]) -> dict[str, str]:
    """Every query of the workbook by the name of its step, with a tunnel chosen."""
    found = {}
    for item in items:
        steps = [item, *item["content"].get("parameters", [])]
        for step in steps:
            query = step.get("query") or step.get("content", {}).get("query")
            if query:
                found[f"workbook: {step['name']}"] = query.replace("{Tunnel}", "VNG-LAB 203.0.113.7")
    return found


# --- they bind --------------------------------------------------------------------------------------------------------


@binds
def test_every_query_binds() -> None:
    bound = kql.bind(QUERIES | workbook_queries(), TABLES)
    assert len(bound) >= 30
    assert {name: b.problems for name, b in bound.items() if b.problems} == {}


@binds
def test_the_binder_sees_a_broken_query() -> None:
    broken = {
        "IkeDiagnosis_CL | where Caus == 'x'": "Caus",
        "IkeDiagnosi_CL | count": "IkeDiagnosi_CL",
        "IkeDiagnosis_CL | where Revision has 'x'": "type",
        "IkeDiagnosis_CL | where (Cause == 'x'": "Expected",
        "IkeStreamHealth_CL | summarize sum(Instance)": "number",
        "IkeDiagnosis_CL | extend x = extract('a', Message)": "argument",
    }
    bound = kql.bind({query: query for query in broken}, TABLES)
    for query, says in broken.items():
        assert says.lower() in " ".join(bound[query].problems).lower(), query


def test_every_query_is_published_once() -> None:
    packed = (INFRA / "modules/query-pack.bicep").read_text(encoding="utf-8")
    ruled = "".join(path.read_text(encoding="utf-8") for path in ALERTS)
    published = re.findall(r"loadTextContent\('\.\./queries/(.+?)'\)", packed + ruled)
    assert sorted(published) == sorted(QUERIES)
    for name, text in QUERIES.items():
        assert text.startswith("// "), name


# --- the limits of alert rules ----------------------------------------------------------------------------------------


@cache
def rules() -> dict[str, Rule]:
    """The alert rules as Bicep declares them, at the frequency that is the default."""
    declared = [bicep.read(path).variables["rules"].value for path in ALERTS]
    wanted = bicep.read(INFRA / "modules/alert-rules.bicep").variables["columns"].value
    default = bicep.read(INFRA / "main.bicep").parameters["alertFrequency"].value
    assert None not in declared
    assert wanted is not None
    assert default is not None
    dimensions = {
        per: tuple(bicep.literal(n) for n in names.named_children) for per, names in bicep.members(wanted).items()
    }
    found = {}
    for node in (rule for listed in declared if listed for rule in listed.named_children):
        given = bicep.members(node)
        frequency = (
            bicep.literal(default)
            if bicep.text(given["frequency"]) == "frequency"
            else bicep.literal(given["frequency"])
        )
        query = bicep.literal(given["query"].named_children[1].named_children[0]).removeprefix("../queries/")
        name = bicep.literal(given["name"])
        found[name] = Rule(
            name,
            QUERIES[query],
            dimensions[bicep.literal(given["per"])],
            int(span(frequency) / timedelta(minutes=1)),
            span(bicep.literal(given["window"])),
            span(bicep.literal(given["range" if "range" in given else "window"])),
            int(bicep.text(given["severity"])),
        )
    return found


def span(duration: str) -> timedelta:
    number, unit = re.fullmatch(r"PT?(\d+)([MHD])", duration).groups()  # type: ignore[union-attr]
    return timedelta(minutes=int(number) * {"M": 1, "H": 60, "D": 1440}[unit])


FORBIDDEN = r"\b(union|search|take|limit|ingestion_time|adx|workspace|app|arg|bag_unpack|pivot|narrow|AggregatedValue|externaldata)\b"
WINDOWS = {timedelta(minutes=m) for m in (1, 5, 10, 15, 30, 45, 60, 120, 180, 240, 300, 360, 1440, 2880)}


@pytest.mark.parametrize("rule", rules().values(), ids=lambda rule: rule.name)
def test_a_rule_keeps_the_documented_limits(rule: Rule) -> None:
    statements = re.sub(r"//.*|\"[^\"]*\"", "", rule.query)
    assert not re.search(FORBIDDEN, statements)
    assert "ago(" not in statements  # the window says it already
    assert re.match(r"\s*\w+\s*\n", statements)  # begins with its table
    assert len(rule.dimensions) <= 6
    assert rule.window in WINDOWS
    # The service refuses longer windows of a rule that looks every minute, and a range shorter than the window.
    assert rule.frequency > 1 or rule.window <= timedelta(hours=6)
    assert rule.window <= rule.range <= timedelta(days=2)
    assert rule.range in WINDOWS
    assert timedelta(minutes=rule.frequency) <= rule.window
    assert len(rule.query.encode()) < 64 * 1024


def test_incidents_are_looked_for_every_minute_over_two_days() -> None:
    for name in ("outage", "advisory", "many-open"):
        assert (rules()[name].frequency, rules()[name].range) == (1, timedelta(days=2))
        assert "TimeGenerated" not in rules()[name].query  # what has a time would be counted by windows
    alone = bicep.members(
        bicep.read(INFRA / "modules/alert-rules.bicep").resources["alertRules"].properties()["properties"]
    )
    assert bicep.text(alone["overrideQueryTimeRange"]) == "rule.?range"
    assert "numberOfEvaluationPeriods: 1\n" in bicep.text(alone["criteria"])
    assert bicep.text(alone["autoMitigate"]) == "true"


def test_no_more_rules_look_every_minute_than_a_subscription_has() -> None:
    assert 0 < sum(rule.frequency == 1 for rule in rules().values()) <= 100


@binds
def test_a_rule_splits_by_nothing_that_may_change() -> None:
    bound = kql.bind({name: rule.query for name, rule in rules().items()}, TABLES)
    material = {
        c["name"]
        for c in json.loads((INFRA / "tables/IkeDiagnosis.json").read_text(encoding="utf-8"))["columns"]
        if c.get("material")
    }
    for name, rule in rules().items():
        assert set(rule.dimensions) <= {"IncidentId", "GatewayName", "RemoteIP", "OpenedAs", "AppName"}
        assert not set(rule.dimensions) & material
        for dimension in rule.dimensions:
            assert bound[name].columns[dimension] in ("string", "long", "int", "real")


# --- alerts over the core's rows --------------------------------------------------------------------------------------


def at(row: Row) -> datetime:
    return datetime.fromisoformat(row["TimeGenerated"]).astimezone(UTC).replace(tzinfo=None)


def clock(*parts: int) -> datetime:
    """A time as DuckDB gives it: UTC, without saying so."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)  # type: ignore[misc,arg-type]


def alerts(rows: list[Row], *names: str, rule: Rule | None = None, after: timedelta = timedelta(days=3)) -> list[Alert]:
    """What the named rules raise over `rows`, and for a while after the last."""
    workspace = kql.Workspace(TABLES)
    workspace.ingest(DIAGNOSIS, rows)
    told = [at(row) for row in rows]
    chosen = [rule] if rule else [rules()[name] for name in names]
    return [alert for one in chosen for alert in raised(workspace, one, told, max(told) + after)]


def live(records: Iterable[Record]) -> list[Row]:
    """What the app tells: read at once, judged every 15 seconds."""
    store = Estate(grid=TICK)
    rows: list[Row] = []
    now = 0
    for delivery in post(sorted(records, key=lambda r: r.at or 0), Random(0), PROMPT):
        rows += run_until(store, now, delivery.enqueued - 1)
        now = delivery.enqueued
        learn(store, [delivery])
    return rows + run_on(store, now)


def resume(site: Site) -> None:
    """Both ends try again from now on, not from when they stopped."""
    for life in site.lives:
        site._retry(life, site.now)


@cache
def changing(days: int) -> tuple[Row, ...]:
    """One outage that is disconnected, then of other policy, then of another key, stays so for `days`, and is mended.

    The connection's name is not in a log; an inventory brings it, here with the fourth revision.
    """
    lab = Lab(11, tunnel_log=True, virtual_wan=False)
    site = lab.site(active_active=False)
    site.set(azure={"initiates": False})
    site.run(UP_FIRST)
    good = site.peer.policy
    site.set(peer={"initiates": False})
    site.drop(13885, reason="RemotelyTriggered")
    site.run(6 * MINUTE)
    offers, _ = miss(lab.random, site.azure.policy.ike, Phase.IKE)
    site.set(azure={"initiates": True}, peer={"policy": Policy(offers, good.esp_offered, good.esp_offered)})
    resume(site)
    site.run(6 * MINUTE)
    site.set(peer={"initiates": True})
    resume(site)
    site.run(6 * MINUTE)
    site.set(peer={"policy": matching_policy(lab.random, site.azure.policy), "key": "two"})
    site.run(6 * MINUTE)
    site.set(azure={"initiates": False}, peer={"initiates": False})
    site.run(days * DAY + MINUTE)
    site.set(azure={"initiates": True}, peer={"key": "one", "initiates": True})
    resume(site)
    site.run(30 * MINUTE)
    rows = [row for row in live(site.log.records) if row["Kind"] == "Outage"]
    return tuple(row | {"ConnectionName": "to-branch" if row["Revision"] >= 4 else None} for row in rows)


@pytest.mark.parametrize("days", [0, 5])
def test_one_alert_from_open_to_resolve_whatever_changes(days: int) -> None:
    rows = list(changing(days))
    assert len({row["IncidentId"] for row in rows}) == 1
    for column in ("Cause", "Confidence", "Severity", "ConnectionName"):
        assert len({row[column] for row in rows}) > 1, column
    assert rows[-1]["State"] == "Resolved"
    spaces = [at(b) - at(a) for a, b in pairwise(rows) if a["State"] == "Open"]
    assert max(spaces) <= timedelta(hours=6, minutes=1)
    assert at(rows[-1]) - at(rows[0]) > timedelta(days=days)

    (alert,) = alerts(rows, "outage", "advisory")

    assert alert.values == (rows[0]["IncidentId"], rows[0]["GatewayName"], rows[0]["RemoteIP"], rows[0]["OpenedAs"])
    assert timedelta() <= alert.fired - at(rows[0]) <= timedelta(minutes=1)
    assert alert.resolved is not None
    resolved = next(at(row) for row in rows if row["State"] == "Resolved")
    assert timedelta(minutes=10) <= alert.resolved - resolved <= timedelta(minutes=11)


@pytest.mark.parametrize("column", ["Cause", "Severity", "Confidence", "ConnectionName"])
def test_a_dimension_that_changes_would_raise_a_second_alert(column: str) -> None:
    rule = rules()["outage"]
    query = rule.query.replace("RemoteIP, OpenedAs", f"RemoteIP, OpenedAs, {column}")
    wrong = replace(rule, query=query, dimensions=(*rule.dimensions, column))
    assert len(alerts(list(changing(0)), rule=wrong)) > 1


def test_without_restatements_an_alert_would_be_lost() -> None:
    rows = [row for n, row in enumerate(changing(5)) if n < 12 or row["State"] == "Resolved"]
    found = alerts(rows, "outage")
    assert found[0].resolved is not None
    assert found[0].resolved < at(rows[-1])


def test_an_alert_by_time_and_not_by_revision_would_be_wrong() -> None:
    """A row older than two days gets the time it is received as TimeGenerated: only Revision is in order."""
    rows = list(changing(0))
    late = [
        row | {"TimeGenerated": rows[-1]["TimeGenerated"][:-4] + "999Z"} if row["Revision"] == 3 else row
        for row in rows
    ]
    assert rows[2]["State"] == "Open"
    (alert,) = alerts(late, "outage")
    assert alert.resolved is not None
    by_time = replace(
        rules()["outage"], query=rules()["outage"].query.replace("arg_max(Revision,", "arg_max(TimeGenerated,")
    )
    assert alerts(late, rule=by_time)[0].resolved != alert.resolved


def test_a_drill_pages_nobody() -> None:
    rows = [row | {"Drill": True} for row in changing(0)]
    assert alerts(rows, "outage", "advisory", "many-open") == []


def test_a_gateway_that_is_down_is_one_alert() -> None:
    rows = in_order(fallen(5, 6, back=HOUR))
    whole = {row["IncidentId"] for row in rows if row["Scope"] == "Gateway" and row["Kind"] == "Outage"}
    own = {row["IncidentId"] for row in rows if row["Scope"] == "Tunnel" and row["Kind"] == "Outage"}
    assert (len(whole), len(own)) == (1, 5)

    found = alerts(rows, "outage")

    assert [alert.values[0] for alert in found] == [*whole]
    assert found[0].resolved is not None


def test_a_tunnel_that_stays_down_when_its_gateway_is_up_again_is_told() -> None:
    records = fallen(5, 6, back=HOUR)
    stays = "203.0.113.4"
    records = [r for r in records if not (r.remote_ip == stays and (r.at or 0) >= START + 2 * HOUR)]
    rows = in_order(records)
    still = [row for row in last(rows).values() if row["State"] == "Open" and row["Kind"] == "Outage"]
    assert {row["RemoteIP"] for row in still if row["Scope"] == "Tunnel"} == {stays}
    found = alerts(rows, "outage", after=timedelta())
    assert [(alert.values[2], alert.resolved is None) for alert in found] == [("", False), (stays, True)]
    up_again = next(at(row) for row in rows if row["Scope"] == "Gateway" and row["State"] == "Resolved")
    assert timedelta() <= found[1].fired - up_again <= timedelta(minutes=1)


def test_advisories_raise_a_ticket_if_they_are_worth_one() -> None:
    rows = in_order(faults.pfs_at_rekey(Lab(3)).records)
    told = {row["OpenedAs"] for row in rows if row["Kind"] == "Advisory"}
    # The drops that a refused renewal leads to come at equal distances; then the feed ends, since the story does.
    assert told == {"ChildSaFailing", "PeriodicDrop", "WeakCryptography", "FeedSilent"}
    found = alerts(rows, "advisory", after=timedelta())
    assert {alert.values[3] for alert in found} == told - {"WeakCryptography"}
    open_ones = {
        i for i, row in last(rows).items() if row["State"] == "Open" and row["OpenedAs"] in told - {"WeakCryptography"}
    }
    assert {alert.values[0] for alert in found if alert.resolved is None} == {
        i for i in open_ones if last(rows)[i]["Kind"] == "Advisory"
    }

    informational = [
        row | {"OpenedAs": "UnknownPeer", "Cause": "UnknownPeer"} for row in rows if row["Kind"] == "Advisory"
    ]
    assert alerts(informational, "advisory") == []


def test_an_advisory_the_rule_names_is_one_that_exists() -> None:
    named = re.search(r"OpenedAs in \((.*?)\)", rules()["advisory"].query)
    assert named
    assert set(re.findall(r'"(\w+)"', named[1])) < {str(a) for a in Advisory}


@pytest.mark.parametrize(("count", "expected"), [(300, 0), (301, 1)])
def test_more_incidents_than_azure_raises_alerts_for_are_told_at_once(count: int, expected: int) -> None:
    row = changing(0)[0]
    rows = [row | {"IncidentId": f"{n:020x}", "RemoteIP": f"203.0.113.{n % 250}"} for n in range(count)]
    assert len(alerts(rows, "many-open", after=timedelta())) == expected


def test_each_rule_has_one_severity_and_the_worst_is_told_loudest() -> None:
    severity = {name: rule.severity for name, rule in rules().items()}
    assert severity["many-open"] < severity["outage"] < severity["advisory"]


# --- the monitor itself -----------------------------------------------------------------------------------------------

SELF = {
    "TimeGenerated": "2026-03-02T10:00:00Z",
    "Kind": "Tick",
    "AppName": "west",
    "LagSeconds": 12.0,
    "Parked": [],
    "Outbox": 0,
    "OldestUndelivered": None,
}
BATCH = {
    "TimeGenerated": "2026-03-02T10:00:30Z",
    "Kind": "Batch",
    "AppName": "west",
    "Records": 100,
    "Unread": 0,
    "DeadLetters": 0,
    "Parked": None,
}
UNKNOWING = [SELF | {"TimeGenerated": f"2026-03-02T09:{50 + n}:00Z", "LagSeconds": None} for n in range(10)]


@pytest.mark.parametrize(
    ("rule", "rows", "told"),
    [
        ("silent", [], ["none"]),
        ("silent", [BATCH], ["none"]),
        ("silent", [SELF], []),
        ("silent", [SELF | {"TimeGenerated": "2026-03-02T09:46:01Z"}], []),
        ("silent", [SELF | {"TimeGenerated": "2026-03-02T09:45:59Z"}], ["west"]),
        # Two regions write into one table: one that is well does not hide the other.
        ("silent", [SELF, SELF | {"AppName": "north", "TimeGenerated": "2026-03-01T10:00:00Z"}], ["north"]),
        ("silent", [SELF, SELF | {"AppName": "north"}], []),
        ("lagging", [SELF], []),
        ("lagging", [SELF | {"LagSeconds": 901.0}], ["west"]),
        ("lagging", [SELF | {"LagSeconds": 901.0}, SELF | {"TimeGenerated": "2026-03-02T10:01:00Z"}], []),
        (
            "lagging",
            [
                SELF | {"AppName": "north", "LagSeconds": 901.0},
                SELF | {"TimeGenerated": "2026-03-02T10:01:00Z"},
            ],
            ["north"],
        ),
        # A worker that was replaced does not speak for its app any more.
        (
            "lagging",
            [
                SELF | {"Instance": "a", "LagSeconds": 901.0},
                SELF | {"Instance": "b", "TimeGenerated": "2026-03-02T10:01:00Z"},
            ],
            [],
        ),
        ("lagging", [SELF | {"OldestUndelivered": "2026-03-02T09:44:59Z"}], ["west"]),
        ("lagging", [SELF | {"OldestUndelivered": "2026-03-02T09:45:01Z"}], []),
        ("lagging", UNKNOWING, ["west"]),
        ("lagging", UNKNOWING[:9], []),
        ("lagging", [*UNKNOWING, SELF], []),
        ("put-aside", [SELF, BATCH], []),
        ("put-aside", [SELF, BATCH | {"DeadLetters": 1}], ["west"]),
        ("put-aside", [SELF | {"DeadLetters": 1}, BATCH | {"AppName": "north"}], ["west"]),
        (
            "put-aside",
            [SELF | {"Parked": [{"Gateway": "/subscriptions/x", "Since": "2026-03-02T10:00:00Z"}]}],
            ["west"],
        ),
        ("dropped", [SELF, BATCH | {"BoundsReached": None}], []),
        ("dropped", [SELF | {"BoundsReached": 0, "TooLate": 0}, SELF | {"BoundsReached": 1}], ["west"]),
        ("dropped", [SELF | {"AppName": "north", "TooLate": 2}, SELF], ["north"]),
        ("unread", [SELF, BATCH], []),
        ("unread", [SELF, BATCH | {"Unread": 2}], ["west"]),
    ],
)
def test_the_monitor_is_monitored_app_by_app(rule: str, rows: list[dict[str, Any]], told: list[str]) -> None:
    workspace = kql.Workspace(TABLES)
    workspace.ingest(HEALTH, rows)
    answer = workspace.query(rules()[rule].query, now=clock(2026, 3, 2, 10, 1))
    assert [row["AppName"] for row in answer] == told
    assert rules()[rule].dimensions == ("AppName",)


def busy(app: str, hours: float, *, pause: int = 0, until: str = "2026-03-02T09:30:00Z") -> list[dict[str, Any]]:
    """Rows of batches with records, one every ten minutes for so long; `pause` minutes without in the middle."""
    end = datetime.fromisoformat(until)
    times = [end - timedelta(minutes=n) for n in range(0, int(hours * 60), 10)]
    middle = end - timedelta(hours=hours / 2)
    return [
        BATCH | {"AppName": app, "TimeGenerated": at.isoformat()}
        for at in times
        if not timedelta() < middle - at < timedelta(minutes=pause)
    ]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (busy("west", 30), ["west"]),
        (busy("west", 30, until="2026-03-02T09:32:00Z"), []),  # not for half an hour yet
        ([*busy("west", 30), *busy("north", 30, until="2026-03-02T10:00:00Z")], ["west"]),
        (busy("west", 30, pause=40), []),  # it is quiet at times
        (busy("west", 20), []),  # who knows
        ([*busy("west", 30), BATCH | {"Records": 0}], ["west"]),
        ([*busy("west", 30), BATCH], []),
        ([], []),
    ],
)
def test_a_hub_that_nothing_comes_through_is_told_where_something_always_came(
    rows: list[dict[str, Any]], told: list[str]
) -> None:
    workspace = kql.Workspace(TABLES)
    workspace.ingest(HEALTH, rows)
    answer = workspace.query(rules()["sent-nothing"].query, now=clock(2026, 3, 2, 10, 1))
    assert [row["AppName"] for row in answer] == told


def test_a_second_app_that_falls_silent_raises_an_alert_of_its_own() -> None:
    workspace = kql.Workspace(TABLES)
    minutes = [datetime.fromisoformat("2026-03-02T10:00:00Z") + timedelta(minutes=n) for n in range(300)]
    ended = {"west": 60, "north": 120, "east": 300}
    rows = [
        SELF | {"AppName": app, "TimeGenerated": minute.isoformat()}
        for app, end in ended.items()
        for minute in minutes[:end]
    ]
    workspace.ingest(HEALTH, rows)
    # Every look counts: what it says depends on the time, not on new rows alone.
    told = [minute.replace(tzinfo=None) for minute in minutes]
    found = raised(workspace, rules()["silent"], told, told[-1])
    assert [(alert.values, alert.resolved) for alert in found] == [(("west",), None), (("north",), None)]
    for alert in found:
        last = told[ended[alert.values[0]] - 1]
        assert timedelta(minutes=15) < alert.fired - last <= timedelta(minutes=20)


def test_refused_rows_are_told_by_stream() -> None:
    workspace = kql.Workspace(TABLES)
    error = {
        "TimeGenerated": "2026-03-02T10:00:00Z",
        "InputStreamId": "Custom-IkeDiagnosis_CL",
        "Message": "no such column",
    }
    workspace.ingest("DCRLogErrors", [error, error, error | {"InputStreamId": "Custom-Other_CL"}])
    (row,) = workspace.query(rules()["refused-rows"].query)
    assert (row["InputStreamId"], row["Errors"], row["Example"]) == ("Custom-IkeDiagnosis_CL", 2, "no such column")


# --- the queries for people -------------------------------------------------------------------------------------------


def workspace_of(*rows: Row) -> kql.Workspace:
    workspace = kql.Workspace(TABLES)
    workspace.ingest(DIAGNOSIS, rows)
    return workspace


def after(rows: Iterable[Row]) -> datetime:
    return max(map(at, rows)) + timedelta(minutes=1)


def two_outages() -> list[Row]:
    """One tunnel down for ten minutes, another for good; the third stays up."""
    return in_order(
        [
            *(tunnel(START, f"203.0.113.{n}", up=True) for n in (7, 8, 9)),
            tunnel(START + HOUR, "203.0.113.7", up=False, reason="DPD timed out"),
            tunnel(START + HOUR + 10 * MINUTE, "203.0.113.7", up=True),
            tunnel(START + 3 * HOUR, "203.0.113.8", up=False, reason="DPD timed out"),
        ]
    )


def test_open_incidents_are_those_whose_last_revision_says_so() -> None:
    rows = [row for row in two_outages() if row["TimeGenerated"] < "2026-03-02T14"]
    assert {row["State"] for row in rows} == {"Open", "Resolved"}
    renewal = in_order(faults.pfs_at_rekey(Lab(3)).records)
    lesser = next(row for row in renewal if row["Cause"] == "ChildSaFailing") | {
        "FirstSeen": "2026-03-02T09:00:00.000Z"
    }
    assert (lesser["State"], lesser["Severity"]) == ("Open", "Warning")
    drill = rows[-1] | {"IncidentId": "drill", "Drill": True}

    answer = workspace_of(lesser, *rows, drill).query(QUERIES["open-incidents.kql"], now=clock(2026, 3, 2, 14))

    assert [row["RemoteIP"] for row in answer] == ["203.0.113.8", lesser["RemoteIP"]]  # the worst first
    assert [row["Severity"] for row in answer] == ["Critical", "Warning"]
    assert answer[0]["FirstSeen"] == clock(2026, 3, 2, 13)


def test_the_story_of_a_tunnel_is_told_in_order() -> None:
    rows = changing(0)
    query = (
        QUERIES["story-of-a-tunnel.kql"]
        .replace("VNG-WEST", rows[0]["GatewayName"].lower())
        .replace("203.0.113.7", rows[0]["RemoteIP"])
    )
    answer = workspace_of(*rows, *two_outages()).query(query, now=after(rows))
    assert [row["Revision"] for row in answer] == [row["Revision"] for row in rows]
    assert answer[0]["What"] == "opened"
    resolved = next(n for n, row in enumerate(rows) if row["State"] == "Resolved")
    assert [n for n, row in enumerate(answer) if row["What"] == "resolved"] == [resolved]
    changes = [b["Cause"] != a["Cause"] and b["State"] == a["State"] for a, b in pairwise(rows)]
    assert [row["What"].startswith("cause was ") for row in answer[1:]] == changes
    assert sum(changes) >= 2


def test_causes_are_counted_by_the_day_it_began() -> None:
    rows = two_outages()
    answer = workspace_of(*rows).query(QUERIES["causes-over-time.kql"], now=after(rows))
    outages = [row for row in last(rows).values() if row["Kind"] == "Outage"]
    assert sum(row["Outages"] for row in answer) == len(outages) == 2
    assert {row["Day"] for row in answer} == {clock(2026, 3, 2)}
    assert {row["Cause"] for row in answer} == {row["Cause"] for row in outages}


def test_mean_time_to_recover_counts_what_recovered() -> None:
    rows = two_outages()
    answer = {
        row["RemoteIP"]: row for row in workspace_of(*rows).query(QUERIES["mean-time-to-recover.kql"], now=after(rows))
    }
    assert answer.keys() == {"203.0.113.7", "203.0.113.8"}
    assert (answer["203.0.113.7"]["Outages"], answer["203.0.113.7"]["StillOpen"]) == (1, 0)
    assert answer["203.0.113.7"]["MeanMinutes"] == answer["203.0.113.7"]["LongestMinutes"] == 10.0
    assert (answer["203.0.113.8"]["Outages"], answer["203.0.113.8"]["StillOpen"]) == (1, 1)
    assert answer["203.0.113.8"]["MeanMinutes"] is None


def test_what_changed_before_it_broke_is_one_row_a_change() -> None:
    rows = in_order(faults.phase_one_peer_initiates(Lab(3)).records)
    changes = [(c["What"], c["Side"]) for row in last(rows).values() for c in row["ChangedSince"] or ()]
    answer = workspace_of(*rows).query(QUERIES["what-changed-before.kql"], now=after(rows))
    assert changes
    assert sorted((row["What"], row["Side"]) for row in answer) == sorted(changes)
    assert all(row["FirstSeen"] is not None for row in answer)


MESSAGE = "SESSION_ID :{c9459bf0-8178-4482-88d6-a695be1f5157} Remote 203.0.113.7:500: Local 192.0.2.4:4500: [SEND][SA_INIT] Sending IKE SA_INIT packet"


def test_the_query_everybody_pastes_reads_a_message() -> None:
    workspace = kql.Workspace(TABLES)
    line = {
        "TimeGenerated": "2026-03-02T13:00:10Z",
        "Category": "IKEDiagnosticLog",
        "Message": MESSAGE,
        "instance_s": "GatewayTenantWorker_IN_1",
    }
    workspace.ingest(
        "AzureDiagnostics", [line, line | {"Category": "RouteDiagnosticLog"}, line | {"Message": "no session"}]
    )
    (row,) = workspace.query(QUERIES["ike-messages.kql"], now=clock(2026, 3, 2, 13, 10))
    assert (row["SessionId"], row["RemoteIP"], row["LocalIP"]) == (
        "c9459bf0-8178-4482-88d6-a695be1f5157",
        "203.0.113.7",
        "192.0.2.4",
    )
    assert (row["Instance"], row["IkeMessage"]) == ("1", "[SEND][SA_INIT] Sending IKE SA_INIT packet")


def test_messages_stand_beside_the_verdict_of_their_moment() -> None:
    rows = [row for row in two_outages() if row["RemoteIP"] == "203.0.113.7" and row["Kind"] == "Outage"]
    workspace = workspace_of(*rows)
    times = ("2026-03-02T10:30:00Z", "2026-03-02T11:05:00Z", "2026-03-02T11:30:00Z")
    workspace.ingest(
        "AzureDiagnostics", [{"TimeGenerated": t, "Category": "IKEDiagnosticLog", "Message": MESSAGE} for t in times]
    )
    answer = workspace.query(QUERIES["messages-and-verdicts.kql"], now=clock(2026, 3, 2, 12))
    assert [row["Told"].partition(" ")[0] if row["Told"] else None for row in answer] == [None, "Open", "Resolved"]


def test_the_row_of_an_incident_is_its_last_with_the_fix() -> None:
    rows = changing(0)
    query = QUERIES["incident-row.kql"].replace("<IncidentId>", rows[0]["IncidentId"])
    (answer,) = workspace_of(*rows, *two_outages()).query(query, now=after(rows))
    row = json.loads(answer["Row"]) if isinstance(answer["Row"], str) else answer["Row"]
    assert row["Revision"] == rows[-1]["Revision"]
    assert (row["Cause"], row["Summary"], row["Fix"]) == (rows[-1]["Cause"], rows[-1]["Summary"], rows[-1]["Fix"])


def test_the_logic_app_asks_for_the_incident_of_the_alert() -> None:
    workflow = json.loads((INFRA / "modules/incident-row.workflow.json").read_text(encoding="utf-8"))
    given = bicep.members(
        bicep.members(
            bicep.read(INFRA / "modules/incident-row.bicep").resources["workflow"].properties()["properties"]
        )["parameters"]
    )
    assert workflow["parameters"].keys() == given.keys()
    assert workflow["parameters"]["address"]["type"] == "SecureString"
    text = json.dumps(workflow)
    assert "'IncidentId'" in text
    assert "<IncidentId>" in text
    assert "<IncidentId>" in QUERIES["incident-row.kql"]
    for parameter in re.findall(r"parameters\('(\w+)'\)", text):
        assert parameter in given


# --- the workbook -----------------------------------------------------------------------------------------------------


def test_the_workbook_is_whole() -> None:
    assert WORKBOOK["version"] == "Notebook/1.0"
    assert WORKBOOK["fallbackResourceIds"] == ["<workspace>"]
    assert "'<workspace>'" in (INFRA / "modules/workbook.bicep").read_text(encoding="utf-8")
    names = [item["name"] for item in WORKBOOK["items"]]
    assert len(set(names)) == len(names)
    tabs = {link["subTarget"] for item in WORKBOOK["items"] if item["type"] == 11 for link in item["content"]["links"]}
    shown = {item["conditionalVisibility"]["value"] for item in WORKBOOK["items"] if "conditionalVisibility" in item}
    assert tabs == shown == {"fleet", "incidents", "tunnel", "monitor"}
    parameters = {p["name"] for item in WORKBOOK["items"] if item["type"] == 9 for p in item["content"]["parameters"]}
    for item in WORKBOOK["items"]:
        if item["type"] == 3:
            assert item["content"]["timeContextFromParameter"] in parameters
            assert set(re.findall(r"\{(\w+)\}", item["content"]["query"])) <= parameters


def test_the_queries_of_the_workbook_answer() -> None:
    rows = [*two_outages(), *changing(0)]
    workspace = workspace_of(*rows)
    workspace.ingest(HEALTH, [SELF, BATCH])
    chosen = f"{rows[-1]['GatewayName']} {rows[-1]['RemoteIP']}"
    answers = {
        name.partition(": ")[2]: workspace.query(query.replace("VNG-LAB 203.0.113.7", chosen), now=after(rows))
        for name, query in workbook_queries().items()
    }
    (gateway,) = [row for row in answers["gateways"] if row["GatewayName"] == GATEWAY.rpartition("/")[2]]
    assert (gateway["OpenOutages"], gateway["Outages"]) == (1, 2)
    assert {row["IncidentId"] for row in answers["incidents"]} == {row["IncidentId"] for row in rows}
    assert len(answers["evidence"]) == len(rows[-1]["Evidence"])
    assert answers["verdict"][0]["Summary"] == rows[-1]["Summary"]
    assert len(answers["commands"]) == len(rows[-1]["FixCommands"])
    assert answers["now"][0]["LagSeconds"] == 12.0
    assert answers["read"][0]["Records"] == 100
    assert {row["value"] for row in answers["Tunnel"]} >= {chosen, "VNG-LAB 203.0.113.7"}
