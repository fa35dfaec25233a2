"""Bodies into the hub -> rows in the table and messages at the webhook, with the storage account gone in the middle.

Everything is real but Azure itself: see `tests/emulators/stack.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from ikestream import health
from ikestream.batch import Delivery
from tests.emulators import azurite
from tests.emulators.stack import DEAD_LETTERS, HUB, Stack, configured, story_of
from tests.test_function_app import ago, stamp

pytestmark = pytest.mark.skipif(bool(azurite.missing()), reason=azurite.missing())

PATIENCE = 120.0
AZURITE_SAVES = 10.0
"""Azurite writes to disk every few seconds, and what it took since then is lost when it is killed: unlike Azure it forgets
what it acknowledged. By then nothing but leases was written in between."""
KEY = ("wrong_key_azure_initiates", "PreSharedKeyMismatch")
SELECTORS = ("selectors_apart", "TrafficSelectorMismatch")


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_verdicts_name_connections_also_after_a_change(tmp_path: Path) -> None:
    with Stack(tmp_path, every=1.0, resources=configured(KEY[0], seed=3)) as stack:
        story = story_of(KEY[0], seed=3, ended=ago(120))
        stack.send(story)
        (connection,) = (r for r in stack.azure.resources.values() if "/connections/" in r["id"])
        until(lambda: connection["name"] in names(stack), "no name")

        # Somebody makes the connection anew, under another name, and Azure says that something was changed.
        gateway = connection["properties"]["virtualNetworkGateway1"]["id"]
        del stack.azure.resources[connection["id"].lower()]
        renamed = f"{connection['name']}-new"
        stack.azure.add({**connection, "id": f"{connection['id']}-new", "name": renamed})
        change = {
            "time": stamp(ago(0)),
            "resourceId": gateway,
            "category": "GatewayDiagnosticLog",
            "operationName": "SetConnectionConfiguration",
            "properties": {"instance": "GatewayTenantWorker_IN_0", "message": ""},
        }
        stack.send([Delivery("0", "", 0, 0, orjson.dumps({"records": [change]}))])
        until(lambda: names(stack) == {renamed}, "not the name of now")
        assert stack.host.failed == {"learn": 0, "tell": 0, "inventory": 0}
        assert not [path for path in stack.azure.paths if "sharedkey" in path.lower()]


def names(stack: Stack) -> set[object]:
    """What the newest row of each outage calls its connection."""
    newest = {row["IncidentId"]: row for row in sorted(stack.table.rows, key=lambda row: int(row["Revision"]))}
    return {row["ConnectionName"] for row in newest.values() if row["Kind"] == "Outage"}


def test_from_the_hub_to_the_table_and_the_webhook_though_the_store_goes_away(tmp_path: Path) -> None:
    with Stack(tmp_path, every=1.0) as stack:
        first = story_of(KEY[0], seed=3, ended=ago(120))
        stack.send(first)
        until(lambda: KEY in stack.causes and stack.pager.received, "no first verdict")

        time.sleep(AZURITE_SAVES)
        stack.azurite.kill()
        second = story_of(SELECTORS[0], seed=4, ended=ago(100))
        stack.send(second)
        until(lambda: stack.host.failed["learn"], "no batch was called again")
        assert stack.causes == {KEY}
        stack.table.answer(503, 429)
        stack.pager.answer(500)
        stack.azurite.start()
        until(lambda: SELECTORS in stack.causes, "no second verdict")
        until(lambda: len({m.body["data"]["IncidentId"] for m in stack.pager.received}) == 2, "no second message")

        # Everything was read, and what cannot be read stands whole in the hub for it, at least once.
        until(lambda: stack.host.checkpoints == stack.heads(HUB), "the checkpoint stays behind")
        sent = {d.body for d in (*first, *second)}
        unreadable = {body for body in sent if b"records" not in body or b'"records": 7' in body}
        assert unreadable
        assert set(stack.bodies(DEAD_LETTERS)) == unreadable

        # Each revision is one row, whatever happened on the way, and the messages are about the same incidents.
        rows: dict[tuple[str, int], object] = {}
        for row in stack.table.rows:
            assert rows.setdefault((row["IncidentId"], row["Revision"]), row) == row
        assert {incident for incident, _ in rows} == {m.body["data"]["IncidentId"] for m in stack.pager.received}
        assert {row["Kind"] for row in stack.table.others[health.STREAM]} == {"Tick", "Batch"}
        until(
            lambda: stack.teller.ask()[1].get("openIncidents") == 2, "health knows of no second incident"
        )  # by the minute
        status, body = stack.teller.ask()
        assert (status, body["undelivered"]) == (200, 0)
        assert stack.host.failed["tell"] == 0
