"""Facts of an attempt -> its lines: logs written by hand in the words of the decision tables (`facts/06` 1.1).

An attempt is one string, its facts separated by `;`, in the order in which the lines stand:

    A_INIT  A_INIT_ANS  P_INIT  P_INIT_ANS  AUTH_OUT  AUTH_IN  MM            who began, how far it came
    SEND_IKE a/b/c, d/e/f   RECV_IKE …   SEND_ESP a/b …   RECV_ESP …         proposals, in the names of Azure's policy
    TS_PROP mine > theirs   TS_REQ …   TS_FINAL …                            ranges of initiator > responder, `;`-less
    N_OUT words   N_IN words   CLOSE code   CLEAN_MM code   CLEAN_QM code   EVENT name   SAY a whole body

Every line's words are those that the public record shows (`lab/wording.py`); nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from random import Random
from typing import Any

from ikestream import codes
from ikestream.events import Category, Proposal, Record, Selector
from ikestream.incident import Row
from ikestream.inventory import Inventory
from ikestream.lab.wording import Wording
from ikestream.replay import NO_INVENTORY
from ikestream.times import SECOND
from tests.streams import GATEWAY, START, in_order, last

PEER, OTHER_PEER = "198.51.100.7", "198.51.100.8"
AZURE, AZURE_2 = "203.0.113.4", "203.0.113.5"
IN_0, IN_1 = "GatewayTenantWorker_IN_0", "GatewayTenantWorker_IN_1"
STEP = 20
"""Milliseconds from line to line."""
EVERYTHING = "0.0.0.0/0"

UP_BY_AZURE = f"A_INIT; A_INIT_ANS; AUTH_OUT; AUTH_IN; TS_FINAL {EVERYTHING} > {EVERYTHING}"
UP_BY_PEER = f"P_INIT; P_INIT_ANS; AUTH_IN; AUTH_OUT; TS_FINAL {EVERYTHING} > {EVERYTHING}"


@dataclass
class ByHand:
    """One gateway's log. Times are seconds since `START`."""

    gateway: str = GATEWAY
    peer: str = PEER
    local: str = AZURE
    instance: str = IN_0
    method: str = "PreShared Key"
    records: list[Record] = field(default_factory=list)
    wording: Wording = field(default_factory=lambda: Wording(Random(5)))
    sessions: int = 0

    def attempt(
        self,
        at: float,
        facts: str,
        *,
        peer: str = "",
        local: str = "",
        instance: str = "",
        port: int = 500,
        local_port: int = 500,
        auth_port: int = 0,
        session: str | None = None,
        cookie: int = 0,
    ) -> str:
        """Write one attempt; `auth_port` is the port on both sides from IKE_AUTH on. Return its SESSION_ID."""
        self.sessions += 1
        session = f"00000000-0000-4000-8000-{self.sessions:012d}" if session is None else session
        spis = (f"0xA{cookie or self.sessions:015X}", f"0xB{cookie or self.sessions:015X}")
        ends = [peer or self.peer, port, local or self.local, local_port]
        now = START + round(at * SECOND)
        for fact in filter(None, (f.strip() for f in facts.split(";"))):
            if auth_port and fact.startswith(("AUTH", "TS_", "SEND_ESP", "RECV_ESP")):
                ends[1] = ends[3] = auth_port
            prefix = self.wording.prefix(session, str(ends[0]), int(ends[1]), str(ends[2]), int(ends[3]))
            body = self.body(fact, spis)
            self.records.append(
                Record(now, self.gateway, Category.IKE, "IKELogEvent", instance or self.instance, prefix + body)
            )
            now += STEP
        return session

    def attempts(self, times: Sequence[float], facts: str, **ends: Any) -> None:
        """Write the same attempt several times, each a new one."""
        for at in times:
            self.attempt(at, facts, **ends)

    def body(self, fact: str, spis: tuple[str, str]) -> str:
        """The line of one fact, after session and endpoints."""
        w, (name, _, rest) = self.wording, fact.partition(" ")
        rest = rest.strip()
        match name:
            case "A_INIT":
                return w.init_sent(3, spis[0])
            case "A_INIT_ANS":
                return w.init_answered(*spis)
            case "P_INIT":
                return w.init_received(spis[0])
            case "P_INIT_ANS":
                return w.spi_generated(*spis)
            case "MM":
                return w.nonce(3, *spis)
            case "AUTH_OUT":
                return w.auth_sent(3, 0x37)
            case "AUTH_IN":
                return w.auth_received()
            case "SEND_IKE":
                return w.ike_sent(3, proposals(rest), self.method)
            case "RECV_IKE":
                return w.ike_received(proposals(rest))
            case "SEND_ESP":
                return w.esp_sent(3, 0x37, proposals(rest))
            case "RECV_ESP":
                return w.esp_received(proposals(rest))
            case "TS_PROP" | "TS_REQ" | "TS_FINAL":
                what = {"TS_PROP": "proposed", "TS_REQ": "requested", "TS_FINAL": "final"}[name]
                initiator, _, responder = rest.partition(">")
                return w.selectors(what, 0x37, selectors(initiator), selectors(responder))
            case "N_OUT" | "N_IN":
                return w.notify(rest, sent=name == "N_OUT")
            case "CLOSE":
                return w.closed(3, int(rest))
            case "CLEAN_MM" | "CLEAN_QM":
                return w.cleanup(name[-2:], int(rest))
            case "EVENT":
                return f"[IkeEvent] {rest}"
            case "SAY":
                return rest
        raise ValueError(fact)

    def call(self, at: float = -3600) -> None:
        """Azure calls the peer once, long before: a gateway calls configured peers only, so it is known from then on."""
        self.attempt(at, "A_INIT")

    def tunnel(
        self, at: float, *, up: bool, reason: str = "", code: int = 0, peer: str = "", instance: str = ""
    ) -> None:
        """Write TunnelConnected or TunnelDisconnected."""
        operation, status = ("TunnelConnected", "Connected") if up else ("TunnelDisconnected", "Disconnected")
        reason = codes.CODES[code].message if code else reason
        self.records.append(
            Record(
                START + round(at * SECOND), self.gateway, Category.TUNNEL, operation, instance or self.instance, "",
                "Informational", peer or self.peer, status, reason,
            )
        )  # fmt: skip

    def operation(self, at: float, name: str, *, instance: str = "") -> None:
        """Write a gateway event, of the gateway itself or of one of its instances."""
        self.records.append(Record(START + round(at * SECOND), self.gateway, Category.GATEWAY, name, instance, ""))

    def bgp(self, at: float, *, up: bool, address: str = "10.99.0.1", instance: str = "") -> None:
        """Write a BGP event; the message is invented, its layout is not published."""
        word = "connected" if up else "disconnected"
        self.records.append(
            Record(
                START + round(at * SECOND), self.gateway, Category.ROUTE, f"Bgp{word.capitalize()}Event",
                instance or self.instance, f"BGP peer {address} {word}",
            )
        )  # fmt: skip

    def rows(self, inventory: Inventory = NO_INVENTORY) -> list[Row]:
        """Judge it: the last revision of every incident that stands."""
        found = last(in_order(self.records, inventory)).values()
        return sorted(found, key=lambda row: (row["FirstSeen"] or "", row["RemoteIP"]))

    def outages(self, inventory: Inventory = NO_INVENTORY) -> list[Row]:
        """The outages among them."""
        return [row for row in self.rows(inventory) if row["Kind"] == "Outage"]

    def outage(self, inventory: Inventory = NO_INVENTORY) -> Row:
        """The only outage of the log."""
        (row,) = self.outages(inventory)
        return row


def verdict(row: Row) -> tuple[str, str]:
    """The part of a row that a decision table decides."""
    return row["Cause"], row["Confidence"]


def hypotheses(row: Row) -> str:
    """The hypotheses, in order, as one text."""
    return " | ".join(h["Cause"] for h in row["Hypotheses"])


def proposals(text: str) -> list[Proposal]:
    """`AES256/SHA256/DHGroup14, …`; `GCMAES256` alone stands for itself twice."""
    found = []
    for one in text.split(","):
        values = one.strip().split("/")
        found.append(Proposal(*values) if len(values) > 1 else Proposal(values[0], values[0]))
    return found


def selectors(text: str) -> list[Selector]:
    """`10.1.0.0/16, 10.2.0.0/16` as ranges; `10.1.0.4:6:443` is one packet's: host, protocol, port."""
    found = []
    for one in text.split(","):
        address, *packet = one.strip().split(":")
        network = ip_network(address)
        ends = str(network[0]), str(network[-1])
        found.append(Selector(*ends, int(packet[1]), int(packet[1]), int(packet[0])) if packet else Selector(*ends))
    return found
