"""Event hub bodies and query rows: what becomes a Record, what is left out and counted, and that nothing raises."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from datetime import UTC, datetime
from typing import ClassVar

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ikestream.envelope import BODY_LIMIT, BadEnvelope, Body, Skip, decode, record, row
from ikestream.events import Category, Record
from ikestream.timestamps import milliseconds

GATEWAY = (
    "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000000/RESOURCEGROUPS/LAB"
    "/PROVIDERS/MICROSOFT.NETWORK/VIRTUALNETWORKGATEWAYS/VPNGW"
)
AT = int(datetime(2020, 9, 18, 15, 43, 12, tzinfo=UTC).timestamp()) * 1000 + 123
MESSAGE = (
    "SESSION_ID :{3baa1cd0-77ec-40e6-b0d6-7ef40b2372a5} Remote 168.62.186.148:500: Local 104.208.38.235:500: "
    "[RECEIVED][NOTIFY] Received Notify Message - Authentication failed"
)
IKE = {
    "time": "2020-09-18T15:43:12.1239999Z",
    "resourceId": GATEWAY,
    "operationName": "IKELogEvent",
    "category": "IKEDiagnosticLog",
    "level": "Informational",
    "properties": {"instance": "GatewayTenantWorker_IN_0", "message": MESSAGE},
}
IKE_RECORD = Record(AT, GATEWAY, Category.IKE, "IKELogEvent", "GatewayTenantWorker_IN_0", MESSAGE, "Informational")
TUNNEL = {
    "time": "2020-09-18T15:43:12.123Z",
    "resourceId": GATEWAY,
    "operationName": "TunnelDisconnected",
    "category": "TunnelDiagnosticLog",
    "level": "Warning",
    "properties": {
        "instance": "GatewayTenantWorker_IN_1",
        "remoteIP": "192.0.2.1",
        "status": "Disconnected",
        "stateChangeReason": "Main mode SA assumed to be invalid because peer stopped responding. ",
    },
}
TUNNEL_RECORD = Record(
    at=AT,
    gateway=GATEWAY,
    category=Category.TUNNEL,
    operation="TunnelDisconnected",
    instance="GatewayTenantWorker_IN_1",
    message="",
    level="Warning",
    remote_ip="192.0.2.1",
    status="Disconnected",
    reason="Main mode SA assumed to be invalid because peer stopped responding.",
)
FOREIGN = {"time": IKE["time"], "resourceId": GATEWAY.replace("VIRTUALNETWORK", "LOCALNETWORK"), "category": "Audit"}


def dumped(*elements: object) -> bytes:
    return orjson.dumps({"records": elements})


def one(body: bytes) -> Record:
    decoded = decode(body)
    assert decoded.skipped == {}
    (found,) = decoded.records
    return found


class TestBody:
    @pytest.mark.parametrize(
        "body",
        [
            dumped(IKE, TUNNEL),
            orjson.dumps([IKE, TUNNEL]),
            orjson.dumps({"Records": [IKE, TUNNEL]}),
            orjson.dumps(IKE) + b"\r\n\r\n" + orjson.dumps(TUNNEL) + b"\r\n",
            dumped(IKE) + b"\n" + dumped(TUNNEL),
            orjson.dumps([{"records": [IKE]}, {"records": [TUNNEL]}]),
            b"\xef\xbb\xbf" + dumped(IKE, TUNNEL),
            b"  \n" + orjson.dumps({"records": [IKE, TUNNEL]}, option=orjson.OPT_INDENT_2),
            gzip.compress(dumped(IKE, TUNNEL), mtime=0),
            gzip.compress(orjson.dumps(IKE) + b"\n", mtime=0) + gzip.compress(orjson.dumps(TUNNEL), mtime=0),
        ],
    )
    def test_every_layout_gives_the_same_records(self, body: bytes) -> None:
        assert decode(body) == Body((IKE_RECORD, TUNNEL_RECORD), {})

    def test_single_record(self) -> None:
        assert one(orjson.dumps(IKE)) == IKE_RECORD
        assert one(orjson.dumps({"records": IKE})) == IKE_RECORD

    def test_no_records_is_an_empty_body_and_no_error(self) -> None:
        assert decode(b'{"records": []}') == Body((), {})
        assert decode(b"[]") == Body((), {})

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "empty"),
            (b" \n", "empty"),
            (b"\xef\xbb\xbf", "empty"),
            (b"hello", "not JSON"),
            (b'{"records": [{"time', "not JSON"),
            (b"null", "neither a JSON object nor a list"),
            (b'"text"', "neither a JSON object nor a list"),
            (b'{"records": 5}', '"records" is no list'),
            (b"[" * 10_000, "nested too deep"),
            (b'{"a":' * 10_000, "nested too deep"),
            (b"9" * 5000, "neither"),
            (b" " * (BODY_LIMIT + 1), "larger than 4 MiB"),
            (gzip.compress(b"[" + b" " * (50 * 1024 * 1024) + b"]", mtime=0), "larger than 4 MiB"),
            (gzip.compress(dumped(IKE), mtime=0)[:-20], "cut off"),
            (b"\x1f\x8bjunk", "damaged gzip"),
            (b"\x00\x01\x02", "not JSON"),
        ],
    )
    def test_what_nothing_can_be_read_of(self, body: bytes, reason: str) -> None:
        with pytest.raises(BadEnvelope, match=reason) as caught:
            decode(body)
        assert caught.value.reason == str(caught.value)

    def test_a_gzip_bomb_is_not_unpacked(self) -> None:
        bomb = gzip.compress(bytes(64 * 1024 * 1024), mtime=0)
        tracemalloc.start()
        with pytest.raises(BadEnvelope):
            decode(bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 * BODY_LIMIT

    def test_what_is_no_record_is_counted_and_blocks_nothing(self) -> None:
        body = dumped(
            IKE,
            17,
            None,
            "text",
            FOREIGN,
            {**IKE, "category": "NetworkSecurityGroupEvent"},
            {**IKE, "category": 3},
            {key: value for key, value in IKE.items() if key != "category"},
            {**IKE, "time": "yesterday"},
            {**IKE, "time": None},
            TUNNEL,
        )
        decoded = decode(body)
        assert decoded.records == (IKE_RECORD, TUNNEL_RECORD)
        assert decoded.skipped == {
            Skip.NOT_AN_OBJECT: 3,
            Skip.OTHER_SERVICE: 1,
            Skip.OTHER_CATEGORY: 2,
            Skip.NO_CATEGORY: 1,
            Skip.NO_TIME: 2,
        }

    def test_a_broken_line_costs_itself(self) -> None:
        decoded = decode(orjson.dumps(IKE) + b'\n{"time": "2020\n' + orjson.dumps(TUNNEL))
        assert decoded == Body((IKE_RECORD, TUNNEL_RECORD), {Skip.BROKEN: 1})

    def test_one_bad_message_does_not_cost_its_neighbours(self) -> None:
        for oddity in (b"\\ud800", b"\xff", b"a\x01b", b"a\nb"):
            odd = dumped(IKE, IKE).replace(b"Authentication failed", oddity, 1)
            decoded = decode(odd)
            assert decoded.records[1] == IKE_RECORD, oddity
            assert len(decoded.records) == 2
            decoded.records[0].message.encode()  # no half surrogates get any further

    def test_what_json_allows_but_nobody_expects(self) -> None:
        twice = dumped(IKE).replace(b'"level"', b'"level":"Error","level"')
        assert one(twice) == IKE_RECORD
        odd = dumped({**IKE, "durationMs": 1}).replace(b'"durationMs":1', b'"durationMs":NaN,"n":' + b"1" * 5000)
        assert one(odd) == IKE_RECORD


class TestRecord:
    def test_ike(self) -> None:
        assert record(IKE) == IKE_RECORD

    def test_tunnel(self) -> None:
        assert record(TUNNEL) == TUNNEL_RECORD

    @pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
    def test_names_and_category_in_any_case(self, change) -> None:
        properties = {change(name): value for name, value in IKE["properties"].items()}
        changed = {change(name): value for name, value in IKE.items() if name != "properties"}
        found = record({**changed, change("properties"): properties, change("category"): change("IKEDiagnosticLog")})
        assert found == IKE_RECORD

    def test_a_null_never_hides_another_spelling(self) -> None:
        assert record({**IKE, "Time": None, "RESOURCEID": None}) == IKE_RECORD

    @pytest.mark.parametrize(
        "properties",
        [
            json.dumps(IKE["properties"]),
            str(IKE["properties"]),
            repr({**IKE["properties"], "flag": True, "other": None, "list": [1, "it's"]}),
            {"Message": MESSAGE, "Instance": "GatewayTenantWorker_IN_0"},
        ],
    )
    def test_properties_as_text(self, properties: object) -> None:
        assert record({**IKE, "properties": properties}) == IKE_RECORD

    @pytest.mark.parametrize(
        "message", ["it's", 'a "quote"', "both ' and \"", "back\\slash", "tab\there", "line\nend", "é"]
    )
    def test_python_text_gives_back_what_was_printed(self, message: str) -> None:
        found = record({**IKE, "properties": repr({"message": message})})
        assert isinstance(found, Record)
        assert found.message == message

    def test_message_at_top_level(self) -> None:
        found = record({**IKE, "properties": {"instance": "i"}, "Message": MESSAGE})
        assert isinstance(found, Record)
        assert (found.message, found.instance) == (MESSAGE, "i")

    @pytest.mark.parametrize(
        ("properties", "message"),
        [
            (None, ""),
            ({}, ""),
            ({"message": None}, ""),
            ({"message": 5}, "5"),
            ({"message": ["b", {"a": 1}]}, '["b",{"a":1}]'),
            ("only text", "only text"),
            ("{'message': broken", "{'message': broken"),
            (5, "5"),
            ([1], "[1]"),
        ],
    )
    def test_a_record_without_a_message_is_kept(self, properties: object, message: str) -> None:
        found = record({**IKE, "properties": properties})
        assert isinstance(found, Record)
        assert found.message == message

    @pytest.mark.parametrize(
        "kind", ["virtualNetworkGateways", "VPNGATEWAYS", "p2sVpnGateways", "virtualnetworkgateways"]
    )
    def test_gateways_keep_their_id_as_written(self, kind: str) -> None:
        written = f"/subscriptions/s/resourceGroups/G/providers/Microsoft.Network/{kind}/VpnGw"
        found = record({**IKE, "resourceId": written})
        assert isinstance(found, Record)
        assert found.gateway == written

    @pytest.mark.parametrize(
        "resource",
        [
            "/subscriptions/s/resourceGroups/G/providers/Microsoft.Network/expressRouteGateways/x",
            "/subscriptions/s/resourceGroups/G/providers/Contoso.Network/vpnGateways/x",
            "/subscriptions/s/resourceGroups/G/providers/Microsoft.Network",
        ],
    )
    def test_other_services_are_told_apart(self, resource: str) -> None:
        assert record({**IKE, "resourceId": resource}) is Skip.OTHER_SERVICE

    def test_without_a_resource_id_the_gateway_is_empty(self) -> None:
        found = record({key: value for key, value in IKE.items() if key != "resourceId"})
        assert isinstance(found, Record)
        assert found.gateway == ""

    @pytest.mark.parametrize("level", ["Informational", "Information", "Error", "4", 4])
    def test_levels_pass_through(self, level: object) -> None:
        found = record({**IKE, "level": level})
        assert isinstance(found, Record)
        assert found.level == str(level)

    def test_hostile_text_in_properties_is_read_in_linear_time(self) -> None:
        for text in (
            "{" + "'" * 500_000,
            "{'" + "\\'" * 500_000,
            "{" + "\\" * 500_000,
            "{" * 500_000,
            "{'" + '"' * 500_000,
        ):
            assert isinstance(record({**IKE, "properties": text}), Record)


class TestRow:
    DIAGNOSTICS: ClassVar[dict[str, object]] = {
        "TimeGenerated": "2020-09-18T15:43:12.123Z",
        "ResourceId": GATEWAY,
        "Category": "IKEDiagnosticLog",
        "OperationName": "IKELogEvent",
        "Level": "Informational",
        "Message": MESSAGE,
        "instance_s": "GatewayTenantWorker_IN_0",
        "TableName": "PrimaryResult",
    }

    def test_equals_the_resource_log(self) -> None:
        assert row(self.DIAGNOSTICS) == IKE_RECORD
        assert record(self.DIAGNOSTICS) == IKE_RECORD  # a data export rule sends rows into event hubs

    def test_tunnel_columns(self) -> None:
        columns = {
            "TimeGenerated": "2020-09-18 15:43:12.123",
            "_ResourceId": GATEWAY,
            "Category": "TunnelDiagnosticLog",
            "OperationName": "TunnelDisconnected",
            "Level": "Warning",
            "instance_s": "GatewayTenantWorker_IN_1",
            "remoteIP_s": "192.0.2.1",
            "status_s": "Disconnected",
            "stateChangeReason_s": TUNNEL_RECORD.reason,
        }
        assert row(columns) == TUNNEL_RECORD

    def test_id_from_its_parts(self) -> None:
        parts = {
            "SubscriptionId": "00000000-0000-0000-0000-000000000000",
            "ResourceGroup": "lab",
            "ResourceType": "VIRTUALNETWORKGATEWAYS",
            "Resource": "VPNGW",
        }
        columns = {key: value for key, value in self.DIAGNOSTICS.items() if key != "ResourceId"}
        assert row({**columns, **parts}) == IKE_RECORD
        short = row({**columns, "Resource": "VPNGW"})
        assert isinstance(short, Record)
        assert short.gateway == "VPNGW"
        assert row({**columns, **parts, "ResourceType": "LOADBALANCERS"}) is Skip.OTHER_SERVICE

    def test_the_query_of_the_article(self) -> None:
        found = row(
            {
                "TimeGenerated": "2020-09-18T15:43:12.123Z",
                "GWIN": "0",
                "SessionID": "3baa1cd0-77ec-40e6-b0d6-7ef40b2372a5",
                "RemoteIP": "168.62.186.148",
                "LocalIP": "104.208.38.235",
                "IKEMessage": "[RECEIVED][NOTIFY] Received Notify Message - Authentication failed",
            }
        )
        assert found == Record(AT, "", Category.IKE, "", "GatewayTenantWorker_IN_0", MESSAGE.replace(":500:", ":0:"))

    def test_the_query_of_the_diagnostics_page(self) -> None:
        columns = {"TimeGenerated": "2020-09-18T15:43:12.123Z", "RemoteIP": "192.0.2.1", "LocalIP": "198.51.100.1"}
        found = row({**columns, "Event": "[SEND]Sending IPSec policy Payload", "Level": "Informational"})
        assert isinstance(found, Record)
        assert found.message == "Remote 192.0.2.1:0: Local 198.51.100.1:0: [SEND]Sending IPSec policy Payload"
        assert found.remote_ip == ""

    @pytest.mark.parametrize(
        ("columns", "category"),
        [
            ({"OperationName": "TunnelConnected"}, Category.TUNNEL),
            ({"OperationName": "SetGatewayConfiguration", "Message": "x"}, Category.GATEWAY),
            ({"OperationName": "BgpDisconnectedEvent"}, Category.ROUTE),
            ({"OperationName": "P2SLogEvent"}, Category.P2S),
            ({"status_s": "Connected", "remoteIP_s": "192.0.2.1"}, Category.TUNNEL),
            ({"Message": "x"}, Category.IKE),
        ],
    )
    def test_a_projection_without_category(self, columns: dict[str, object], category: Category) -> None:
        found = row({"TimeGenerated": "2020-09-18T15:43:12Z", **columns})
        assert isinstance(found, Record)
        assert found.category is category

    def test_what_is_no_row_of_a_gateway(self) -> None:
        assert row({"TimeGenerated": "2020-09-18T15:43:12Z", "count_": 5}) is Skip.NO_CATEGORY
        assert row({**self.DIAGNOSTICS, "Category": "AzureFirewall"}) is Skip.OTHER_CATEGORY
        assert row({"Message": MESSAGE}) is Skip.NO_TIME
        assert row({"Message": MESSAGE, "TimeGenerated": "?"}, timeless=True) is Skip.NO_TIME
        clockless = row({"Message": MESSAGE}, timeless=True)
        assert isinstance(clockless, Record)
        assert clockless.at is None


class TestTime:
    @pytest.mark.parametrize(
        "text",
        [
            "2020-09-18T15:43:12.123Z",
            "2020-09-18T15:43:12.1239999Z",
            "2020-09-18T15:43:12.123999999Z",
            "2020-09-18T15:43:12.123",
            "2020-09-18 15:43:12.123",
            "2020-09-18 15:43:12,123 UTC",
            "2020-09-18T15:43:12.123+00:00",
            "2020-09-18T17:43:12.123+02:00",
            "2020-09-18T10:13:12.123-0530",
            "2020-09-18t15:43:12.123z",
            " 2020-09-18T15:43:12.123Z ",
            "9/18/2020, 3:43:12.123 PM",
            "09/18/2020, 03:43:12.123 PM",
            "9/18/2020, 3:43:12.123\u202fPM",
            "18/09/2020, 15:43:12.123",
            "18/09/2020, 3:43:12.123 pm",
            "18.9.2020, 15:43:12,123",
            "2020/9/18 15:43:12.123",
            "2020-09-18, 3:43:12.123 p.m.",
            "/Date(1600443792123)/",
            "/Date(1600443792123+0200)/",
            "1600443792.123",
            "1600443792123",
            "1600443792123999",
            "1600443792123999999",
            1600443792.123,
            1600443792123,
            1600443792123999999,
        ],
    )
    def test_one_instant_in_every_spelling(self, text: object) -> None:
        assert milliseconds(text) == AT

    def test_fractions_are_cut_not_rounded(self) -> None:
        start = AT - 123
        assert milliseconds("2020-09-18T15:43:12Z") == start
        assert milliseconds("2020-09-18T15:43Z") == start - 12_000
        assert milliseconds("2020-09-18T15:43:12.9Z") == start + 900
        assert milliseconds("2020-09-18T15:43:12.05Z") == start + 50
        assert milliseconds("2020-09-18T15:43:12.9999999Z") == start + 999

    def test_day_first(self) -> None:
        assert milliseconds("05/09/2020 00:00:00") == milliseconds("2020-05-09T00:00:00Z")
        assert milliseconds("05/09/2020 00:00:00", day_first=True) == milliseconds("2020-09-05T00:00:00Z")
        assert milliseconds("9/18/2020 12:00 AM") == milliseconds("2020-09-18T00:00:00Z")
        assert milliseconds("9/18/2020 12:00 PM") == milliseconds("2020-09-18T12:00:00Z")

    @pytest.mark.parametrize(
        "value",
        [
            "", "now", "2020-09-18", "2020-13-18T15:43:12Z", "2020-02-30T00:00:00Z", "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2020-09-18T25:00:00Z", "2020-09-18T15:43:99Z",
            "2020/18/09 15:43:12", "2020/9-18 15:43:12", "/Date(x)/", "2020-09-18T15:43:12.Z", "9/18/2020, 13:00:00 PM", "31/31/2020 00:00:00", "٢٠٢٠-09-18T15:43:12Z",
            "2020-09-18T15:43:12.\u0661Z", float("nan"), float("inf"), -1, 10**30, 1e300, True, None, [], {}, b"2020",
        ],
    )  # fmt: skip
    def test_no_time(self, value: object) -> None:
        assert milliseconds(value) is None

    @settings(deadline=None, database=None)
    @given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9998, 12, 31)))  # noqa: DTZ001 - zone added
    def test_every_instant_comes_back(self, instant: datetime) -> None:
        exact = int(instant.replace(tzinfo=UTC, microsecond=0).timestamp()) * 1000 + instant.microsecond // 1000
        assert milliseconds(instant.isoformat(timespec="microseconds") + "Z") == exact
        assert milliseconds(instant.isoformat(" ", timespec="microseconds")) == exact


# No deadline and no database: what a slow machine or an earlier run saw must not decide.
QUIET = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def total(body: bytes) -> None:
    try:
        decoded = decode(body)
    except BadEnvelope:
        return
    assert all(found.at is not None and isinstance(found.message, str) for found in decoded.records)
    assert all(count > 0 for count in decoded.skipped.values())
    orjson.dumps([found.message + found.instance + found.gateway + found.reason for found in decoded.records])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from([*IKE, "message"]), inner, max_size=4)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [*IKE, "Message", "TimeGenerated", "ResourceId", "instance_s", "GWIN", "LocalIP", "RemoteIP", "Event"]
)


@QUIET
@given(st.binary(max_size=200))
@example(b"\x1f\x8b\x08\x00")
@example(b'[{"records":[[[[[{}]]]]]}]')
def test_total_over_bytes(body: bytes) -> None:
    total(body)


@QUIET
@given(st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6), st.integers(0, 8)), max_size=6), st.booleans())
def test_total_over_mutated_bodies(cuts: list[tuple[int, bytes, int]], packed: bool) -> None:
    body = bytearray(gzip.compress(dumped(IKE, TUNNEL), mtime=0) if packed else dumped(IKE, TUNNEL))
    for place, new, length in cuts:
        at = place % (len(body) + 1)
        body[at : at + length] = new
    total(bytes(body))


@QUIET
@given(st.dictionaries(FIELDS, json_values, max_size=4), st.sets(FIELDS))
def test_total_over_values_of_any_type(fields: dict[str, object], dropped: set[str]) -> None:
    element = {name: value for name, value in {**IKE, **fields}.items() if name not in dropped}
    total(json.dumps({"records": [element, IKE]}).encode())
    assert isinstance(record(element), (Record, Skip))
    assert isinstance(row(element, timeless=True, day_first=True), (Record, Skip))


@QUIET
@given(st.lists(st.sampled_from([IKE, TUNNEL, FOREIGN, 3, {"a": 1}]), max_size=8))
def test_nothing_is_dropped_in_silence(elements: list[object]) -> None:
    decoded = decode(dumped(*elements))
    assert len(decoded.records) + sum(decoded.skipped.values()) == len(elements)
