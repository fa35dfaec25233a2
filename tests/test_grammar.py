"""Every published log line, each reading trap, and what no text may do to the grammar."""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ikestream import grammar
from ikestream.events import Category, Direction, IkeEvent, Kind, Proposal, Record, Selector

SESSION = "8c0d11aa-4c80-434b-8702-0123456789ab"
PREFIX = f"SESSION_ID :{{{SESSION}}} Remote 203.0.113.9:500: Local 198.51.100.4:500: "
ANY = Selector("0.0.0.0", "255.255.255.255")  # noqa: S104 - a traffic selector, nothing is bound
IKE_DEFAULTS = (
    Proposal("AES256", "SHA1", "DHGroup2"),
    Proposal("AES256", "SHA256", "DHGroup2"),
    Proposal("AES128", "SHA1", "DHGroup2"),
    Proposal("AES128", "SHA256", "DHGroup2"),
    Proposal("DES3", "SHA1", "DHGroup2"),
    Proposal("DES3", "SHA256", "DHGroup2"),
)
SIX_POLICIES = (
    "Policy1:Cipher=AES-CBC-256 Integrity=SHA1 DhGroup=DhGroup2 Policy2:Cipher=AES-CBC-256 Integrity=SHA256 "
    "DhGroup=DhGroup2 Policy3:Cipher=AES-CBC-128 Integrity=SHA1 DhGroup=DhGroup2 Policy4:Cipher=AES-CBC-128 "
    "Integrity=SHA256 DhGroup=DhGroup2 Policy5:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2 Policy6:Cipher=3DES "
    "Integrity=SHA256 DhGroup=DhGroup2"
)


def record(message: str, category: Category = Category.IKE, **fields: Any) -> Record:
    return Record(0, "gw", category, fields.pop("operation", ""), "GatewayTenantWorker_IN_0", message, **fields)


def read(message: str, category: Category = Category.IKE, **fields: Any) -> IkeEvent:
    return grammar.read(record(message, category, **fields))


def selectors(*sides: tuple[str, list[tuple[str, str]]]) -> str:
    """A payload in Azure's print: `TSIs n: ` with a space, `TSRs n:` without."""
    parts = []
    for side, ranges in sides:
        listed = ", ".join(
            f"StartAddress {start} EndAddress {end} PortStart 0 PortEnd 65535 Protocol 0" for start, end in ranges
        )
        parts.append(f"Number of {side} {len(ranges)}:{' ' if side == 'TSIs' else ''}{listed}")
    return " ".join(parts)


# --- Every log line on the public record ------------------------------------------------------------------------------

# (line, what is read besides verbatim message; fields not named must be empty)
PUBLISHED: list[tuple[str, dict[str, Any]]] = [
    # dmauser/Lab, shared-key-auth-failed.png
    (
        "[RECEIVED][NOTIFY] Received Notify Message - Authentication failed",
        {
            "kind": Kind.NOTIFY_RECEIVED,
            "direction": Direction.RECEIVED,
            "name": "AUTHENTICATION_FAILED",
            "text": "Authentication failed",
        },
    ),
    (
        "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status IKE authentication credentials are unacceptable",
        {
            "kind": Kind.CLOSED,
            "direction": Direction.LOCAL,
            "tunnel_id": "0x3",
            "code": 13801,
            "text": "IKE authentication credentials are unacceptable",
        },
    ),
    (
        ("[SEND]Sending IPSec policy Payload for tunnel Id 0x3, tsId 0x37: Policy1:Integrity=AES-GCM-256 "
        "Cipher=AES-GCM-256 Policy2:Integrity=SHA1 Cipher=AES-C"),
        {
            "kind": Kind.ESP_SENT,
            "direction": Direction.SENT,
            "tunnel_id": "0x3",
            "ts_id": "0x37",
            "proposals": (Proposal("GCMAES256", "GCMAES256"),),
            "cut": True,
        },
    ),
    (
        ("Proposed(send) Traffic Selector payload will be- [Tsid 0x37 ]Number of TSIs 1: StartAddress 0.0.0.0 "
        "EndAddress 255.255.255.255 PortStart 0 PortEnd 65535 Prot"),
        {"kind": Kind.TS_PROPOSED, "direction": Direction.SENT, "ts_id": "0x37", "cut": True},
    ),
    (
        ("[RECEIVED][SA_INIT] Received IKE SA Init response message with iCookie 0xCBF235637168FA00 rCookie "
        "0x69284B72D78CBC71"),
        {
            "kind": Kind.SA_INIT_ANSWERED,
            "direction": Direction.RECEIVED,
            "initiator_spi": "CBF235637168FA00",
            "responder_spi": "69284B72D78CBC71",
        },
    ),
    (
        "[SEND][SA_AUTH] Sending SA AUTH message for tunnelId 0x3 and tsId 0x37",
        {"kind": Kind.AUTH_SENT, "direction": Direction.SENT, "tunnel_id": "0x3", "ts_id": "0x37"},
    ),
    (
        "[RECEIVED]Received Ike payload: Policy1:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup2",
        {
            "kind": Kind.IKE_RECEIVED,
            "direction": Direction.RECEIVED,
            "proposals": (Proposal("AES256", "SHA256", "DHGroup2"),),
        },
    ),
    (
        ("[RECEIVED] Receiving MM Packet for tunnel Id 0x3 iCookie 0xCBF235637168FA00 and rCookie "
        "0x69284B72D78CBC71: Receiving MM Nonce"),
        {
            "kind": Kind.MM_PACKET,
            "direction": Direction.RECEIVED,
            "tunnel_id": "0x3",
            "initiator_spi": "CBF235637168FA00",
            "responder_spi": "69284B72D78CBC71",
        },
    ),
    (
        ("[SEND]Sending Ike payload for tunnel Id 0x3: Auth:PreShared Key- Policy1:Cipher=AES-CBC-256 Integrity=SHA1 "
        "DhGroup=DhGroup2 Policy2:Cipher=AES-CBC"),
        {
            "kind": Kind.IKE_SENT,
            "direction": Direction.SENT,
            "tunnel_id": "0x3",
            "auth": "PreShared Key",
            "proposals": IKE_DEFAULTS[:1],
            "cut": True,
        },
    ),
    (
        "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0xCBF235637168FA00 and rCookie 0x0",
        {
            "kind": Kind.SA_INIT_SENT,
            "direction": Direction.SENT,
            "tunnel_id": "0x3",
            "initiator_spi": "CBF235637168FA00",
        },
    ),
    # dmauser/Lab, policy-mismatch.png
    (
        "[RECEIVED][SA_INIT] Received SA INIT iCookie 0xA3C9358D2737DA5D rCookie 0x0",
        {"kind": Kind.SA_INIT_RECEIVED, "direction": Direction.RECEIVED, "initiator_spi": "A3C9358D2737DA5D"},
    ),
    (
        "[RECEIVED]Received Ike payload: Policy1:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup14",
        {
            "kind": Kind.IKE_RECEIVED,
            "direction": Direction.RECEIVED,
            "proposals": (Proposal("AES256", "SHA256", "DHGroup14"),),
        },
    ),
    (
        "[SEND][NOTIFY] Sending Notify Message - Policy Mismatch",
        {
            "kind": Kind.NOTIFY_SENT,
            "direction": Direction.SENT,
            "name": "NO_PROPOSAL_CHOSEN",
            "text": "Policy Mismatch",
        },
    ),
    (
        "[LOCAL_MSG][SA_INIT] Received SA INIT iCookie 0xA3C9358D2737DA5D and Generated new rCookie 0x70C9D10B840827BC",
        {
            "kind": Kind.RESPONDER_SPI,
            "direction": Direction.LOCAL,
            "initiator_spi": "A3C9358D2737DA5D",
            "responder_spi": "70C9D10B840827BC",
        },
    ),
    (
        "[RECEIVED][NOTIFY] Received Notify Message - Policy Mismatch",
        {
            "kind": Kind.NOTIFY_RECEIVED,
            "direction": Direction.RECEIVED,
            "name": "NO_PROPOSAL_CHOSEN",
            "text": "Policy Mismatch",
        },
    ),
    (
        "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status Policy match error",
        {
            "kind": Kind.CLOSED,
            "direction": Direction.LOCAL,
            "tunnel_id": "0x3",
            "code": 13868,
            "text": "Policy match error",
        },
    ),
    (
        ("[SEND]Sending Ike payload for tunnel Id 0x3: Auth:PreShared Key- Policy1:Cipher=AES-CBC-256 Integrity=SHA1 "
        "DhGroup=DhGroup2 Policy2:Cipher=AES-CB"),
        {
            "kind": Kind.IKE_SENT,
            "direction": Direction.SENT,
            "tunnel_id": "0x3",
            "auth": "PreShared Key",
            "proposals": IKE_DEFAULTS[:1],
            "cut": True,
        },
    ),
    (
        "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x532CC7B57A368D12 and rCookie 0x0",
        {
            "kind": Kind.SA_INIT_SENT,
            "direction": Direction.SENT,
            "tunnel_id": "0x3",
            "initiator_spi": "532CC7B57A368D12",
        },
    ),
    # the seed's prose: a policy by itself tells no sender
    (
        "Policy5: Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2",
        {
            "kind": Kind.UNREAD,
            "proposals": (Proposal("DES3", "SHA1", "DHGroup2"),),
        },
    ),
    ("[RECEIVE]", {"kind": Kind.UNREAD, "direction": Direction.RECEIVED}),
    # Network Watcher's files
    (
        "\t based on log : Peer failed with Windows error 13801(ERROR_IPSEC_IKE_AUTH_FAIL)",
        {"kind": Kind.ERROR, "code": 13801, "text": "ERROR_IPSEC_IKE_AUTH_FAIL"},
    ),
    (
        ("Error: On-prem device sent invalid payload. \n\t based on log : IkeFindPayloadInPacket failed with Windows "
        "error 13843(ERROR_IPSEC_IKE_INVALID_PAYLOAD)"),
        {"kind": Kind.ERROR, "code": 13843, "text": "ERROR_IPSEC_IKE_INVALID_PAYLOAD"},
    ),
    ("Error: Authentication failed. Check shared key.", {"kind": Kind.UNREAD}),
    (
        "\t\tbased on log : Peer sent NO_PROPOSAL_CHOSEN notify",
        {
            "kind": Kind.NOTIFY_RECEIVED,
            "direction": Direction.RECEIVED,
            "name": "NO_PROPOSAL_CHOSEN",
            "text": "NO_PROPOSAL_CHOSEN",
        },
    ),
    (
        "IkeCleanupQMNegotiation called with error 13868 and flags a",
        {"kind": Kind.CLEANUP_QM, "code": 13868},
    ),
    ("[RECEIVED][SA_AUTH] Received IKE AUTH message", {"kind": Kind.AUTH_RECEIVED, "direction": Direction.RECEIVED}),
    (
        "[RECEIVED]Received IPSec payload: Policy1:Cipher=DESIntegrity=Md5",
        {"kind": Kind.ESP_RECEIVED, "direction": Direction.RECEIVED, "proposals": (Proposal("DES", "MD5"),)},
    ),
    # SupportArticles-docs, troubleshoot-vpn-tunnel-cannot-connect
    (
        "Sending Notify Message - Authentication failed",
        {
            "kind": Kind.NOTIFY_SENT,
            "direction": Direction.SENT,
            "name": "AUTHENTICATION_FAILED",
            "text": "Authentication failed",
        },
    ),
    (
        "IKE Tunnel closed ... with status IKE authentication credentials are unacceptable",
        {"kind": Kind.CLOSED, "code": 13801, "text": "IKE authentication credentials are unacceptable"},
    ),
    ("[ErrorCode] 0x35E9", {"kind": Kind.ERROR, "code": 13801}),
    (
        "13801 [ErrorMessage] IKE authentication credentials are unacceptable",
        {"kind": Kind.ERROR, "code": 13801, "text": "IKE authentication credentials are unacceptable"},
    ),
    (
        "[ErrorCode] 0x3602 [ErrorMessage] Failed to verify signature",
        {"kind": Kind.ERROR, "code": 13826, "text": "Failed to verify signature"},
    ),
    (
        "[ErrorCode] 0x362C [ErrorMessage] Policy match error",
        {"kind": Kind.ERROR, "code": 13868, "text": "Policy match error"},
    ),
    ("IkeCleanupMMNegotiation called with error 13868", {"kind": Kind.CLEANUP_MM, "code": 13868}),
    ("Received Traffic Selector payload request", {"kind": Kind.TS_REQUESTED, "direction": Direction.RECEIVED}),
    ("[IkeEvent] SA_NEGOTIATION_FAILED", {"kind": Kind.ERROR, "name": "SA_NEGOTIATION_FAILED"}),
    ("[ErrorMessage] Negotiation timed out", {"kind": Kind.ERROR, "code": 13805, "text": "Negotiation timed out"}),
    ("[ErrorCode] 0x35ED", {"kind": Kind.ERROR, "code": 13805}),
    # the site-to-site error code document
    (
        "Negotiation timed out (Error code: 13805, Hex: 0X35ED)",
        {"kind": Kind.ERROR, "code": 13805, "text": "Negotiation timed out (Error code: 13805, Hex: 0X35ED)"},
    ),
    (
        "Invalid cookie received (13846, Hex: 0X3616)",
        {"kind": Kind.ERROR, "code": 13846, "text": "Invalid cookie received (13846, Hex: 0X3616)"},
    ),
    # Microsoft's support workflow content
    ("Remote Auth method 0 not supported by policy", {"kind": Kind.ERROR, "text": "Remote Auth method 0 not supported by policy"}),
    ("Processing LIFETIME change QM Notify", {"kind": Kind.IKE_OTHER}),
    ("Received Expire Notification -> Deleting QM", {"kind": Kind.IKE_OTHER}),
    ("DoS mode on", {"kind": Kind.IKE_OTHER}),
    (
        "Sending DoS Cookie Notify",
        {"kind": Kind.NOTIFY_SENT, "direction": Direction.SENT, "name": "COOKIE", "text": "COOKIE"},
    ),
    ("Construct CERT REQUEST", {"kind": Kind.IKE_OTHER}),
    ("IKE Version Mismatch", {"kind": Kind.ERROR, "code": 13880, "text": "IKE Version Mismatch"}),
    ("Idle Timeout", {"kind": Kind.UNREAD}),
]  # fmt: skip


def said(event: IkeEvent) -> dict[str, Any]:
    """The fields that are not empty, but those the record itself brings."""
    fields = {name: getattr(event, name) for name in IkeEvent.__dataclass_fields__}
    for name in ("at", "gateway", "message", "category", "instance", "shape"):
        del fields[name]
    return {name: value for name, value in fields.items() if value not in ("", 0, (), None, False)}


@pytest.mark.parametrize(("line", "expected"), PUBLISHED, ids=[line[:60] for line, _ in PUBLISHED])
def test_published_line(line: str, expected: dict[str, Any]) -> None:
    assert said(read(line)) == expected


@pytest.mark.parametrize(("line", "expected"), PUBLISHED, ids=[line[:60] for line, _ in PUBLISHED])
def test_published_line_behind_the_prefix(line: str, expected: dict[str, Any]) -> None:
    event = read(PREFIX + line)
    assert said(event) == expected | {
        "session": SESSION,
        "remote": "203.0.113.9",
        "remote_port": 500,
        "local": "198.51.100.4",
        "local_port": 500,
    }
    assert event.message == PREFIX + line


# Identifiers of support insights: the log's phrase with spaces and punctuation removed (messages.jsonl, TSG-insight-id).
INSIGHTS = [
    ("IkeTunnelClosedWithStatusIkeAuthenticationCredentialsAreUnacceptable", Kind.CLOSED, 13801),
    ("IkeTunnelClosedWithStatusPolicyMatchError", Kind.CLOSED, 13868),
    ("IkeTunnelClosedWithStatusMainModeSaAssumedToBeInvalidBecausePeerStoppedResponding", Kind.CLOSED, 13886),
    ("IkeTunnelClosedWithStatusNegotiationTimedOut", Kind.CLOSED, 13805),
    ("IkeTunnelClosedWithStatusIkeSaDeletedBeforeEstablishmentCompleted", Kind.CLOSED, 13808),
    ("IkeTunnelClosedWithStatusMainModeSaLifetimeExpiredOrPeerSentMainModeDelete", Kind.CLOSED, 13885),
    ("IkeTunnelClosedWithStatusInvalidPayloadReceived", Kind.CLOSED, 13843),
    ("IkeTunnelClosedWithStatusTheOperatororAdministratorHasRefusedTheRequest", Kind.CLOSED, 4320),
    ("IkeTunnelClosedWithStatusTheUsernameOrPasswordIsIncorrect", Kind.CLOSED, 1326),
    ("IkeTunnelClosedWithStatusTheWaitOperationTimedout", Kind.CLOSED, 258),
    ("IkeTunnelClosedWithStatusTheReadOrWriteOperationtoAnEncryptedFileCouldNotBeOpened", Kind.CLOSED, 808),
    ("ReceivedNotifyMessageAuthenticationFailed", Kind.NOTIFY_RECEIVED, "AUTHENTICATION_FAILED"),
    ("ReceivedNotifyMessagePolicyMismatch", Kind.NOTIFY_RECEIVED, "NO_PROPOSAL_CHOSEN"),
    ("ReceivedNotifyMessageTrafficSelectorsUnacceptable", Kind.NOTIFY_RECEIVED, "TS_UNACCEPTABLE"),
    ("ReceivedNotifyMessageInvalidSyntax", Kind.NOTIFY_RECEIVED, "INVALID_SYNTAX"),
    ("SendingNotifyMessageAuthenticationFailed", Kind.NOTIFY_SENT, "AUTHENTICATION_FAILED"),
    ("SendingNotifyMessagePolicyMismatch", Kind.NOTIFY_SENT, "NO_PROPOSAL_CHOSEN"),
    ("SendingNotifyMessageInvalidKEPayload", Kind.NOTIFY_SENT, "INVALID_KE_PAYLOAD"),
    ("SendingNotifywitherrorSimultaneousRekeysWereDetected", Kind.NOTIFY_SENT, 13821),
    ("SendingNotifyWithErrorIkeSaDeletedBeforeEstablishmentCompleted", Kind.NOTIFY_SENT, 13808),
    ("SendingNotifyWithErrorTheOperatororAdministratorHasRefusedTheRequest", Kind.NOTIFY_SENT, 4320),
    ("SendingNotifyWithErrorTheUserNameOrPasswordIsIncorrect", Kind.NOTIFY_SENT, 1326),
    (
        "SendingNotifywitherrorTheoperationbeingrequestedwasnotperformedbecausetheuserhasnotbeenauthenticated",
        Kind.NOTIFY_SENT,
        1244,
    ),
    ("SendingNotifyWithErrorElementNotFound", Kind.NOTIFY_SENT, 1168),
    ("ReceivedNotifywitherrorTheReadOrWriteOperationToAnEncryptedFileCouldNotBeCompleted", Kind.NOTIFY_RECEIVED, 808),
]
ENGLISH = {
    Kind.CLOSED: "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status {}",
    Kind.NOTIFY_RECEIVED: "[RECEIVED][NOTIFY] Received Notify {} {}",
    Kind.NOTIFY_SENT: "[SEND][NOTIFY] Sending Notify {} {}",
}


@pytest.mark.parametrize(("insight", "kind", "meaning"), INSIGHTS)
def test_insight_id_and_its_english(insight: str, kind: Kind, meaning: int | str) -> None:
    """The identifier is read, and so is the sentence it plausibly stands for."""
    joined = read(insight)
    text = grammar._CAMEL.sub(
        " ", re.split("WithStatus|Message|with ?error", insight, maxsplit=1, flags=re.IGNORECASE)[1]
    )
    template = "Message -" if isinstance(meaning, str) else "with error"
    spaced = read(ENGLISH[kind].format(*((text,) if kind is Kind.CLOSED else (template, text))))
    for event in (joined, spaced):
        assert (event.kind, event.name or event.code) == (kind, meaning)


# --- The table of rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", grammar.ROWS, ids=lambda row: f"{row.kind.name}: {row.sample[:50]}")
def test_row_reads_its_sample(row: grammar.Row) -> None:
    assert read(row.sample).kind is row.kind
    assert read(PREFIX + row.sample).kind is row.kind
    assert not read(row.sample).cut


@pytest.mark.parametrize("row", grammar.ROWS, ids=lambda row: f"{row.kind.name}: {row.sample[:50]}")
def test_row_is_reached_by_its_sample(row: grammar.Row) -> None:
    """No earlier row takes the sample: a row that no line reaches is a dead row."""
    direction, tags, start = grammar._tags(row.sample, 0)
    assert grammar._row(tags, grammar._words(row.sample[start:]), direction)[0] is row


@pytest.mark.parametrize("row", grammar.ROWS, ids=lambda row: f"{row.kind.name}: {row.sample[:50]}")
@pytest.mark.parametrize("vary", [str.lower, str.upper, lambda s: s.replace(" ", "  "), lambda s: f"  {s}  "])
def test_case_and_spacing_carry_no_meaning(row: grammar.Row, vary: Any) -> None:
    plain, varied = read(row.sample), read(vary(row.sample))
    ignored = {"text": "", "auth": "", "name": ""}  # kept as written
    assert {**said(varied), **ignored} == {**said(plain), **ignored}


@pytest.mark.parametrize("row", grammar.ROWS, ids=lambda row: f"{row.kind.name}: {row.sample[:50]}")
def test_underscores_are_spaces(row: grammar.Row) -> None:
    head, colon, rest = row.sample.partition(":")
    assert read(head.replace("SA INIT", "SA_INIT").replace("SA AUTH", "SA_AUTH") + colon + rest).kind is row.kind


# --- Prefix and tags ---------------------------------------------------------------------------------------------------

BODY = "[SEND][NOTIFY] Sending Notify Message - Policy Mismatch"
UPPER = SESSION.upper()
PREFIXES = [
    # (prefix, session, remote, remote port, local, local port); letters as in the log format's variants
    pytest.param(PREFIX, SESSION, "203.0.113.9", 500, "198.51.100.4", 500, id="A"),
    pytest.param("Remote 203.0.113.9:500: Local 198.51.100.4:500: ", "", "203.0.113.9", 500, "198.51.100.4", 500, id="B"),
    pytest.param(f"SESSION_ID :{{{SESSION}}} ", SESSION, "", 0, "", 0, id="C"),
    pytest.param("", "", "", 0, "", 0, id="D"),
    pytest.param(f"SESSION_ID:{{{UPPER}}} Remote 203.0.113.9:59780: Local 198.51.100.4:4500: ", SESSION, "203.0.113.9", 59780, "198.51.100.4", 4500, id="upper GUID"),
    pytest.param(f"session_id : {{ {SESSION} }} remote 203.0.113.9:500 local 198.51.100.4:500 ", SESSION, "203.0.113.9", 500, "198.51.100.4", 500, id="no colons"),
    pytest.param(f"SESSION_ID :{{{SESSION}}} Local 198.51.100.4:500: Remote 203.0.113.9:500: ", SESSION, "203.0.113.9", 500, "198.51.100.4", 500, id="local first"),
    pytest.param(f"SESSION_ID :{{{SESSION}}} Remote 2001:db8::1:500: Local 2001:db8::2:4500: ", SESSION, "2001:db8::1", 500, "2001:db8::2", 4500, id="IPv6"),
    pytest.param(f"SESSION_ID :{{{SESSION}}} Remote [2001:DB8:0::1]:500: Local [2001:db8::2]:500: ", SESSION, "2001:db8::1", 500, "2001:db8::2", 500, id="IPv6 in brackets"),
    pytest.param("Remote ::ffff:203.0.113.9:500: Local 198.51.100.4:500: ", "", "203.0.113.9", 500, "198.51.100.4", 500, id="mapped IPv4"),
    pytest.param("Remote 203.0.113.9: Local 198.51.100.4: ", "", "203.0.113.9", 0, "198.51.100.4", 0, id="no ports"),
    pytest.param(f"SESSION_ID :{{{SESSION}}} Remote 203.0.x.x:500: Local 198.51.100.4:500: ", SESSION, "", 0, "198.51.100.4", 500, id="blackened"),
    pytest.param("SESSION_ID :{} Remote 203.0.113.9:500: ", "", "203.0.113.9", 500, "", 0, id="empty session"),
    pytest.param("SESSION_ID :{00000000-0000-0000-0000-000000000000} ", "", "", 0, "", 0, id="null session"),
    pytest.param("Remote 203.0.113.9:99999: Local 198.51.100.4:500: ", "", "", 0, "198.51.100.4", 500, id="no such port"),
]  # fmt: skip


@pytest.mark.parametrize(("prefix", "session", "remote", "remote_port", "local", "local_port"), PREFIXES)
def test_prefix(prefix: str, session: str, remote: str, remote_port: int, local: str, local_port: int) -> None:
    event = read(prefix + BODY)
    assert (event.session, event.remote, event.remote_port) == (session, remote, remote_port)
    assert (event.local, event.local_port) == (local, local_port)
    assert (event.kind, event.direction) == (Kind.NOTIFY_SENT, Direction.SENT)


@pytest.mark.parametrize(
    ("tags", "direction"),
    [
        ("[SEND]", Direction.SENT),
        ("[send] ", Direction.SENT),
        ("[SEND] [SA_AUTH] ", Direction.SENT),
        ("[RECEIVED]", Direction.RECEIVED),
        ("[RECEIVE] ", Direction.RECEIVED),
        ("[RECV][IKE_AUTH]", Direction.RECEIVED),
        ("[Received] ", Direction.RECEIVED),
        ("[LOCAL_MSG]", Direction.LOCAL),
        ("[LOCAL] ", Direction.LOCAL),
        ("[CHILD_SA] ", Direction.NONE),
        ("[NETWORK_EVENT][QM_INITIATOR] ", Direction.NONE),
        ("[INFORMATIONAL][RECV] ", Direction.RECEIVED),
        ("", Direction.NONE),
    ],
)
def test_tags(tags: str, direction: Direction) -> None:
    event = read(PREFIX + tags + "IKE Tunnel closed for tunnelId 0x3 with status Policy match error")
    assert (event.kind, event.direction, event.code) == (Kind.CLOSED, direction, 13868)


@pytest.mark.parametrize(
    ("body", "kind", "direction"),
    [
        ("Sending Notify Message - Policy Mismatch", Kind.NOTIFY_SENT, Direction.SENT),
        ("Received Notify Message - Policy Mismatch", Kind.NOTIFY_RECEIVED, Direction.RECEIVED),
        ("Peer sent NO_PROPOSAL_CHOSEN notify", Kind.NOTIFY_RECEIVED, Direction.RECEIVED),
        ("Notify Message - Policy Mismatch", Kind.UNREAD, Direction.NONE),
        ("Retransmitting IKE SA_INIT packet with iCookie 0xCBF235637168FA00", Kind.SA_INIT_SENT, Direction.SENT),
    ],
)
def test_the_verb_tells_who_acts_where_tags_are_missing(body: str, kind: Kind, direction: Direction) -> None:
    event = read(PREFIX + body)
    assert (event.kind, event.direction) == (kind, direction)


def test_message_id_at_the_end_is_not_part_of_the_body() -> None:
    event = read("[RECV] Received Notify Message - Policy Mismatch Messid : 1")
    assert (event.kind, event.direction, event.text) == (Kind.NOTIFY_RECEIVED, Direction.RECEIVED, "Policy Mismatch")
    event = read("[SEND]Sending Ike payload for tunnel Id 0x3: Auth:PreShared Key- " + SIX_POLICIES + " Messid : 0")
    assert event.proposals == IKE_DEFAULTS
    assert not event.cut


# --- Traps of reading (facts/06) ---------------------------------------------------------------------------------------


def test_r1_mm_in_a_line_says_nothing_about_the_version() -> None:
    """An IKEv2 session logs `MM Packet`; the same words with SA_INIT beside them stay what they are."""
    assert read("[RECEIVED] Receiving MM Packet for tunnel Id 0x3: Receiving MM Nonce").kind is Kind.MM_PACKET
    assert read("[RECEIVED][SA_INIT] Receiving MM Packet: Receiving MM Nonce").kind is Kind.MM_PACKET


@pytest.mark.parametrize(
    ("printed", "auth", "cut"),
    [
        ("Auth:PreShared Key- Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2", "PreShared Key", False),
        ("Auth: PreShared Key - Policy1: Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2", "PreShared Key", False),
        ("Auth:Certificate- Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2", "Certificate", False),
        ("Auth:Certificate Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2", "Certificate", False),
        ("Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2", "", False),
        ("Auth:PreSha", "", True),
    ],
)
def test_r2_auth_tells_azures_method(printed: str, auth: str, cut: bool) -> None:
    event = read(f"[SEND]Sending Ike payload for tunnel Id 0x3: {printed}")
    assert (event.kind, event.auth, event.cut) == (Kind.IKE_SENT, auth, cut)


def test_letters_that_lower_case_makes_longer_move_nothing() -> None:
    event = read("[SEND]Sending Ike payload for \u0130\u0130\u0130\u0130 tunnel Id 0x3: " + SIX_POLICIES)
    assert (event.proposals, event.tunnel_id) == (IKE_DEFAULTS, "0x3")


def test_r3_the_number_of_offers_is_kept() -> None:
    event = read(f"[SEND]Sending Ike payload for tunnel Id 0x3: Auth:PreShared Key- {SIX_POLICIES}")
    assert event.proposals == IKE_DEFAULTS
    assert not event.cut


def test_r4_selectors_belong_to_the_initiator() -> None:
    """TSi stays TSi, whoever sent the line: mapping to local and remote needs the role, which a line has not."""
    payload = selectors(("TSIs", [("192.0.2.0", "192.0.2.255")]), ("TSRs", [("198.51.100.0", "198.51.100.255")]))
    for words in (
        "[SEND] Proposed(send) Traffic Selector payload will be-",
        "Received Traffic Selector payload request-",
        "[SEND] Proposed Traffic Selector payload will be (Final Negotiated) -",
    ):
        event = read(f"{words} [Tsid 0xe  ]{payload}")
        assert event.initiator_selectors == (Selector("192.0.2.0", "192.0.2.255"),)
        assert event.responder_selectors == (Selector("198.51.100.0", "198.51.100.255"),)


def test_r5_the_packet_that_triggered_the_negotiation_is_kept_beside_the_range() -> None:
    event = read(
        "Proposed(send) Traffic Selector payload will be- [Tsid 0x1 ]Number of TSIs 2: StartAddress 192.0.2.7 EndAddress "
        "192.0.2.7 PortStart 40000 PortEnd 40000 Protocol 6, StartAddress 192.0.2.0 EndAddress 192.0.2.255 PortStart 0 "
        "PortEnd 65535 Protocol 0 Number of TSRs 0:"
    )
    assert event.initiator_selectors == (
        Selector("192.0.2.7", "192.0.2.7", 40000, 40000, 6),
        Selector("192.0.2.0", "192.0.2.255"),
    )


@pytest.mark.parametrize(
    ("line", "initiator", "responder"),
    [
        ("Received SA INIT iCookie 0xA3C9358D2737DA5D rCookie 0x0", "A3C9358D2737DA5D", ""),
        ("Received SA INIT iCookie 0xa3c9358d2737da5d rCookie 0x0000000000000000", "A3C9358D2737DA5D", ""),
        ("Received SA INIT iCookie 0x9358D2737DA5D rCookie 0x0", "0009358D2737DA5D", ""),
        ("Received SA INIT ICookie: 0xA3C9358D2737DA5D, RCookie=0x0.", "A3C9358D2737DA5D", ""),
        ("Received SA INIT initiator cookie 0xA3C9358D2737DA5D responder SPI 0x0", "A3C9358D2737DA5D", ""),
        ("Received SA INIT rCookie 0x0 iCookie 0xA3C9358D2737DA5D", "A3C9358D2737DA5D", ""),
        ("Received SA INIT from peer SPI 0xA3C9358D2737DA5D", "", ""),  # peerspi is no rspi
        ("Received SA INIT iCookie 0x", "", ""),
        ("Received SA INIT iCookie 0x123456789ABCDEF01", "", ""),  # 17 digits are no SPI
    ],
)
def test_r7_r12_cookies_are_sixteen_digits_and_zero_is_none_yet(line: str, initiator: str, responder: str) -> None:
    event = read(f"[RECEIVED][SA_INIT] {line}")
    assert (event.kind, event.initiator_spi, event.responder_spi) == (Kind.SA_INIT_RECEIVED, initiator, responder)
    assert not event.cut


def test_a_cookie_cut_at_the_end_of_the_line_is_not_another_cookie() -> None:
    event = read(
        "[RECEIVED][SA_INIT] Received IKE SA Init response message with iCookie 0xCBF235637168FA00 rCookie 0x6928"
    )
    assert (event.initiator_spi, event.responder_spi, event.cut) == ("CBF235637168FA00", "", True)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        # an answer carries a responder SPI, the first message none, whatever words stand around
        ("[SEND][SA_INIT] Sending IKE SA_INIT packet with iCookie 0xCBF235637168FA00 and rCookie 0x69284B72D78CBC71", Kind.RESPONDER_SPI),
        ("[RECEIVED][SA_INIT] Received SA INIT iCookie 0xCBF235637168FA00 rCookie 0x69284B72D78CBC71", Kind.SA_INIT_ANSWERED),
        ("[SEND][SA_INIT] Sending IKE SA_INIT packet with iCookie 0xCBF235637168FA00", Kind.SA_INIT_SENT),
        ("[RECEIVED][SA_INIT] Received SA INIT", Kind.SA_INIT_RECEIVED),
        ("[RECEIVED][SA_INIT] Received IKE SA Init response", Kind.SA_INIT_ANSWERED),
        ("[LOCAL_MSG] Generated new rCookie 0x70C9D10B840827BC", Kind.RESPONDER_SPI),
        # words that only look like it
        ("[LOCAL_MSG] Received SA initial contact", Kind.UNREAD),
        ("[SEND][SA_INIT] Failed to send IKE SA_INIT packet", Kind.UNREAD),
        ("[RECEIVED][SA_INIT] Received SA INIT is dropped", Kind.UNREAD),
        ("[RECEIVED][SA_AUTH] Ignoring IKE AUTH message", Kind.UNREAD),
        ("[LOCAL_MSG] Waiting for IKE AUTH message", Kind.UNREAD),
        ("[SEND] Failed to send Notify Message - Policy Mismatch", Kind.UNREAD),
        ("[SEND][SA_AUTH] Fragment 2 of 3", Kind.AUTH_SENT),  # the tag alone proves that SA_INIT succeeded (06, 1.1)
    ],
)  # fmt: skip
def test_exchange_is_read_by_its_facts(line: str, kind: Kind) -> None:
    assert read(line).kind is kind


@pytest.mark.parametrize("port", [500, 4500, 59780])
def test_r13_r14_ports_are_kept_and_decide_nothing(port: int) -> None:
    event = read(f"Remote 203.0.113.9:{port}: Local 198.51.100.4:4500: {BODY}")
    assert (event.kind, event.remote_port, event.local_port) == (Kind.NOTIFY_SENT, port, 4500)


# --- Proposals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected", "cut"),
    [
        ("Policy1:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup14", [("AES256", "SHA256", "DHGroup14")], False),
        ("Policy1:DhGroup=DhGroup14 Integrity=SHA256 Cipher=AES-CBC-256", [("AES256", "SHA256", "DHGroup14")], False),
        ("Policy1: Cipher = AES-CBC-256, Integrity = SHA256, DhGroup = DhGroup14.", [("AES256", "SHA256", "DHGroup14")], False),
        ("policy1:cipher=aes-cbc-256 integrity=sha256 dhgroup=dhgroup20", [("AES256", "SHA256", "ECP384")], False),
        ("Policy1:Cipher=AES-CBC-256Integrity=SHA256DhGroup=DhGroup14", [("AES256", "SHA256", "DHGroup14")], False),
        ("Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2 Cipher=DES Integrity=Md5 DhGroup=DhGroup1", [("DES3", "SHA1", "DHGroup2"), ("DES", "MD5", "DHGroup1")], False),
        ("Policy1:Cipher=AES-GCM-256 Integrity=SHA384 DhGroup=DhGroup24", [("GCMAES256", "SHA384", "DHGroup24")], False),
        ("Policy1:Cipher=AES-CBC-256 Integrity=SHA512 DhGroup=DhGroup5", [("AES256", "SHA512", "DhGroup5")], False),
        ("Policy1:Cipher=KUZNYECHIK Integrity=SHA1 DhGroup=MLKEM768x", [("KUZNYECHIK", "SHA1", "MLKEM768x")], False),
        # the screenshots cut: the half proposal goes, the whole ones stay
        ("Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2 Policy2:Cipher=AES-CB", [("DES3", "SHA1", "DHGroup2")], True),
        ("Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2 Policy2:Cipher=AES-CBC-256", [("DES3", "SHA1", "DHGroup2")], True),
        ("Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2 Policy2:Cipher=AES-CBC-256 Integrity=SHA1", [("DES3", "SHA1", "DHGroup2")], True),
        ("Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2 Policy2:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup", [("DES3", "SHA1", "DHGroup2")], True),
        ("Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2 Policy2:", [("DES3", "SHA1", "DHGroup2")], True),
        ("Policy1:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2 Pol", [("DES3", "SHA1", "DHGroup2")], True),
        ("Policy1:Cipher=3DES Integrity=SHA1 DhGr", [], True),
        ("Policy1:", [], True),
        ("Policy1:Cipher=", [], True),
    ],
)  # fmt: skip
def test_ike_proposals(payload: str, expected: list[tuple[str, str, str]], cut: bool) -> None:
    event = read(f"[RECEIVED]Received Ike payload: {payload}")
    assert event.kind is Kind.IKE_RECEIVED
    assert [(p.encryption, p.integrity, p.group) for p in event.proposals] == expected
    assert event.cut is cut


@pytest.mark.parametrize(
    ("payload", "expected", "cut"),
    [
        ("Policy1:Cipher=DESIntegrity=Md5", [("DES", "MD5", "")], False),
        ("Policy1:Integrity=SHA256 Cipher=AES-CBC-256 PfsGroup=PFS2048", [("AES256", "SHA256", "PFS2048")], False),
        ("Policy1:Integrity=SHA256 Cipher=AES-CBC-256 Pfs=14", [("AES256", "SHA256", "PFS2048")], False),
        ("Policy1:Integrity=SHA256 Cipher=AES-CBC-256 DhGroup=DhGroup14", [("AES256", "SHA256", "PFS2048")], False),
        ("Policy1:Integrity=SHA256 Cipher=AES-CBC-256 PfsGroup=None", [("AES256", "SHA256", "None")], False),
        ("Policy1:Integrity=SHA256 Cipher=AES-CBC-256 PfsGroup=PFS", [], True),
        # AES-GCM has no other integrity, printed or not
        ("Policy1:Cipher=AES-GCM-256", [("GCMAES256", "GCMAES256", "")], False),
        ("Policy1:Integrity=NULL Cipher=AES-GCM-256", [("GCMAES256", "GCMAES256", "")], False),
        ("Policy1:Integrity=SHA1 Cipher=NULL", [("None", "SHA1", "")], False),
        ("Policy1:Integrity=SHA1 Cipher=AES-C", [], True),
        ("Policy1:Cipher=AES-CBC-256 Integrity=SHA", [], True),  # Azure prints SHA1: this was SHA1 or SHA256
    ],
)
def test_esp_proposals(payload: str, expected: list[tuple[str, str, str]], cut: bool) -> None:
    event = read(f"[SEND]Sending IPSec policy Payload for tunnel Id 0x3, tsId 0x37: {payload}")
    assert event.kind is Kind.ESP_SENT
    assert [(p.encryption, p.integrity, p.group) for p in event.proposals] == expected
    assert event.cut is cut


@pytest.mark.parametrize(("count", "cut"), [(1, False), (32, False), (33, True), (5000, True)])
def test_the_number_of_proposals_is_bounded(count: int, cut: bool) -> None:
    payload = " ".join(f"Policy{n}:Cipher=3DES Integrity=SHA1 DhGroup=DhGroup2" for n in range(1, count + 1))
    event = read(f"[RECEIVED]Received Ike payload: {payload}")
    assert event.proposals == (IKE_DEFAULTS[4],) * min(count, grammar.MAX_PROPOSALS)
    assert event.cut is cut


# --- Traffic selectors -------------------------------------------------------------------------------------------------

FINAL = "[SEND] Proposed Traffic Selector payload will be (Final Negotiated) - [Tsid 0xe  ]"


@pytest.mark.parametrize(("count", "cut"), [(1, False), (16, False), (256, False), (257, True), (900, True)])
def test_the_number_of_selectors_is_bounded(count: int, cut: bool) -> None:
    ranges = [(f"10.{n // 256}.{n % 256}.0", f"10.{n // 256}.{n % 256}.255") for n in range(count)]
    event = read(FINAL + selectors(("TSIs", ranges), ("TSRs", ranges[:1])))
    assert event.initiator_selectors == tuple(Selector(*one) for one in ranges[: grammar.MAX_SELECTORS])
    assert event.responder_selectors == ((Selector(*ranges[0]),) if len(event.message) <= grammar.MAX_LINE else ())
    assert event.cut is cut


def test_selectors_in_any_case_order_and_family() -> None:
    event = read(
        FINAL
        + "NUMBER OF TSIS 1: protocol 17 portstart 53 portend 53 endaddress 2001:DB8::FFFF startaddress 2001:db8:0::0 "
        "number of TSRs 1:Start Address=192.0.2.0 End Address=192.0.2.255 Start Port=0 End Port=65535 Protocol=0"
    )
    assert event.initiator_selectors == (Selector("2001:db8::", "2001:db8::ffff", 53, 53, 17),)
    assert event.responder_selectors == (Selector("192.0.2.0", "192.0.2.255"),)
    assert not event.cut


@pytest.mark.parametrize(
    "payload",
    [
        "Number of TSIs 2: StartAddress 192.0.2.0 EndAddress 192.0.2.255 PortStart 0 PortEnd 65535 Protocol 0",  # 1 of 2
        "Number of TSIs 1: StartAddress 192.0.2.0 EndAddress 192.0.2.2",  # which end?
        "Number of TSIs 1: StartAddress 192.0.2.9 EndAddress 192.0.2.0 PortStart 0 PortEnd 65535 Protocol 0",  # no range
        "Number of TSIs 1: StartAddress 192.0.2.0 EndAddress 2001:db8::1 PortStart 0 PortEnd 65535 Protocol 0",
        "Number of TSIs 1: StartAddress 192.0.2.0 EndAddress 192.0.2.9 PortStart 0 PortEnd 99999 Protocol 0",
        "StartAddress 192.0.2.0 EndAddress 192.0.2.255 PortStart 0 PortEnd 65535 Protocol 0",  # whose?
        "Number of TSIs 1: ",
    ],
)
def test_what_is_announced_and_not_there_is_cut(payload: str) -> None:
    event = read(FINAL + payload)
    assert (event.kind, event.cut) == (Kind.TS_FINAL, True)
    assert len(event.initiator_selectors) <= 1
    assert not event.initiator_selectors or event.initiator_selectors == (Selector("192.0.2.0", "192.0.2.255"),)


def test_the_peers_answer_to_selectors_is_not_an_agreement() -> None:
    """An answered payload proves no child SA; taking it for one would show a tunnel up that is not."""
    event = read(
        "[RECEIVED] Received Traffic Selector payload response- "
        + selectors(("TSIs", [("0.0.0.0", "255.255.255.255")]))  # noqa: S104
    )
    assert (event.kind, event.initiator_selectors) == (Kind.IKE_OTHER, (ANY,))


# --- Notifies, statuses, errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "code"),
    [
        ("Notify Message - Policy Mismatch", "NO_PROPOSAL_CHOSEN", None),
        ("Notify Message-Policy mismatch.", "NO_PROPOSAL_CHOSEN", None),
        ("Notify Message: NO_PROPOSAL_CHOSEN", "NO_PROPOSAL_CHOSEN", None),
        ("Notify Message - NO-PROPOSAL-CHOSEN (14)", "NO_PROPOSAL_CHOSEN", None),
        ("Notify Message - 14", "NO_PROPOSAL_CHOSEN", None),
        ("NOTIFY NO_PROPOSAL_CHOSEN", "NO_PROPOSAL_CHOSEN", None),
        ("Notify Message - Traffic Selectors Unacceptable", "TS_UNACCEPTABLE", None),
        ("Notify Message - TS_UNACCEPTABLE", "TS_UNACCEPTABLE", None),
        ("Notify Message - Invalid Syntax", "INVALID_SYNTAX", None),
        ("Notify Message - Invalid KE Payload", "INVALID_KE_PAYLOAD", None),
        ("Notify Message - Child SA not found", "CHILD_SA_NOT_FOUND", None),
        ("Notify Message - Temporary failure", "TEMPORARY_FAILURE", None),
        ("Notify Message - Single pair required", "SINGLE_PAIR_REQUIRED", None),
        ("Notify Message - Invalid ID information", "INVALID_ID_INFORMATION", None),
        ("Notify Message - Something never heard of", "", None),
        ("Notify with error Simultaneous rekeys were detected", "", 13821),
        ("Notify with error Simultaneous rekeys were detected.", "", 13821),
        ("Notify with error Failed to verify signature", "", 13826),
        ("Notify with error 13868", "", 13868),
        ("Notify with error 0x362c", "", 13868),
        ("Notify with error Traffic selectors unacceptable", "", 13999),
        ("Notify with error NO_PROPOSAL_CHOSEN", "NO_PROPOSAL_CHOSEN", None),
    ],
)
def test_notify(text: str, name: str, code: int | None) -> None:
    for words, kind in (("[SEND][NOTIFY] Sending", Kind.NOTIFY_SENT), ("[RECEIVED] Received", Kind.NOTIFY_RECEIVED)):
        event = read(f"{PREFIX}{words} {text}")
        assert (event.kind, event.name, event.code) == (kind, name, code)
        assert event.text or code


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        ("Policy match error", 13868, "Policy match error"),
        ("Policy match error. ", 13868, "Policy match error."),
        ("POLICY  MATCH ERROR", 13868, "POLICY  MATCH ERROR"),
        ("13868", 13868, ""),
        ("0x362C", 13868, ""),
        ("0x8007362C (Policy match error)", 13868, "Policy match error"),
        ("ERROR_IPSEC_IKE_POLICY_MATCH", 13868, "ERROR_IPSEC_IKE_POLICY_MATCH"),
        ("a text nobody knows", None, "a text nobody knows"),
        ("0", None, ""),  # no error
    ],
)
def test_close_status(status: str, code: int | None, text: str) -> None:
    event = read(f"[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status {status}")
    assert (event.kind, event.tunnel_id, event.code, event.text) == (Kind.CLOSED, "0x3", code, text)


def test_close_status_in_other_words() -> None:
    for line in ("IKE Tunnel closed: Policy match error", "IKE tunnel is closed, status: Policy match error"):
        event = read(f"[LOCAL_MSG] {line}")
        assert (event.kind, event.code, event.text.rstrip(".")) == (Kind.CLOSED, 13868, "Policy match error")


def test_a_status_cut_in_a_message_only_one_code_has_is_that_code() -> None:
    event = read("[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status IKE authentication creden")
    assert (event.code, event.text, event.cut) == (13801, "IKE authentication creden", True)
    event = read(
        "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status Negotiation t"
    )  # timed out? took too long?
    assert (event.code, event.text, event.cut) == (None, "Negotiation t", False)


def test_what_the_peer_did_in_a_status_is_not_who_acts() -> None:
    event = read("IKE Tunnel closed with status Main mode SA lifetime expired or peer sent a main mode delete.")
    assert (event.kind, event.direction, event.code) == (Kind.CLOSED, Direction.NONE, 13885)


@pytest.mark.parametrize(
    ("line", "code", "name", "text"),
    [
        ("[IkeEvent] SA_NEGOTIATION_FAILED [ErrorCode] 0x35ED [ErrorMessage] Negotiation timed out", 13805, "SA_NEGOTIATION_FAILED", "Negotiation timed out"),
        ("[ErrorMessage] Negotiation timed out [IkeEvent] SA_NEGOTIATION_FAILED [ErrorCode] 0x35ED", 13805, "SA_NEGOTIATION_FAILED", "Negotiation timed out"),
        ("[errorcode]: 13801, [errormessage]: IKE authentication credentials are unacceptable", 13801, "", "IKE authentication credentials are unacceptable"),
        ("[LOCAL_MSG][ErrorCode] 13801", 13801, "", ""),
        ("[ErrorCode] ERROR_IPSEC_IKE_AUTH_FAIL", 13801, "", ""),
        ("[ErrorCode] 0x3602 [ErrorMessage] Policy match error", 13826, "", "Policy match error"),  # the number outranks the text
        ("[ErrorCode] 0x4D2 [ErrorMessage] Nobody knows this one", 1234, "", "Nobody knows this one"),
        ("[ErrorCode] 0x0", None, "", ""),
        ("[ErrorCode]", None, "", ""),
    ],
)  # fmt: skip
def test_keyed_errors(line: str, code: int | None, name: str, text: str) -> None:
    event = read(PREFIX + line)
    assert (event.kind, event.code, event.name, event.text) == (Kind.ERROR, code, name, text)


@pytest.mark.parametrize(
    ("line", "kind", "code"),
    [
        ("IkeCleanupMMNegotiation called with error 13868 and flags 12", Kind.CLEANUP_MM, 13868),
        ("ikecleanupqmnegotiation CALLED WITH ERROR 0x362C", Kind.CLEANUP_QM, 13868),
        ("IkeCleanupQMNegotiation called with error Policy match error", Kind.CLEANUP_QM, 13868),
        ("IkeCleanupQMNegotiation called with error 0 and flags a", Kind.CLEANUP_QM, None),
        ("IkeCleanupQMNegotiation", Kind.CLEANUP_QM, None),
        (
            "IkeCleanupQMNegotiation c error = and flagsa",
            Kind.CLEANUP_QM,
            None,
        ),  # found by fuzzing: no number, no KeyError
    ],
)
def test_cleanup(line: str, kind: Kind, code: int | None) -> None:
    event = read(line)
    assert (event.kind, event.code) == (kind, code)


def test_numbers_in_a_sentence_are_no_codes() -> None:
    for line in ("Waited 258 ms", "Negotiated 13801 bytes", "[LOCAL_MSG] 1225 packets, 16+16 selectors"):
        assert read(line).code is None


# --- Lines nothing reads -----------------------------------------------------------------------------------------------


def test_an_unread_line_keeps_its_prefix_direction_and_code() -> None:
    event = read(PREFIX + "[RECEIVED][WHATEVER] The flux capacitor gave up: Negotiation timed out")
    assert (event.kind, event.session, event.remote) == (Kind.UNREAD, SESSION, "203.0.113.9")
    assert (event.direction, event.code, event.text) == (Direction.RECEIVED, 13805, "Negotiation timed out.")
    assert event.shape == "[RECEIVED][WHATEVER] The flux capacitor gave up: Negotiation timed out"


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("Peer 203.0.113.9:500 answered after 12 ms", "Peer #:# answered after # ms"),
        ("Flow 2001:db8::7 is 0xDEADBEEF in 1f6b4a2c-1111-4222-8333-444455556666", "Flow #:#::# is # in #"),
        ("Username=alice@example.com joined", "Username=# joined"),
        ("for user alice on host vpnhub", "for user # on host #"),
        ("identity 'alice and bob' refused", "identity # refused"),
        ('vendor "Some Words Here" seen', "vendor # seen"),
        ("CN=vpn.example.com, O=Example", "CN=#, O=#"),
        ("key: hunter secret: hunter", "key: # secret: #"),
        ("1 2 3 4 5", "# # # # #"),
    ],
)
def test_shape_masks_what_may_be_somebody(text: str, shape: str) -> None:
    assert read(text).shape == shape


def test_shapes_repeat_for_lines_that_differ_in_values_only() -> None:
    lines = [f"Peer 203.0.113.{n} sent fragment {n} of {n + 9} with id 0x{n:x}" for n in range(50)]
    assert len({read(line).shape for line in lines}) == 1


# --- The other categories ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"operation": "TunnelConnected", "status": "Connected"}, Kind.TUNNEL_UP),
        ({"operation": "TUNNELDISCONNECTED"}, Kind.TUNNEL_DOWN),
        ({"operation": "TunnelDisconnected", "status": "Connected"}, Kind.TUNNEL_DOWN),  # the operation is the event
        ({"status": "connected"}, Kind.TUNNEL_UP),
        ({"status": "Disconnected"}, Kind.TUNNEL_DOWN),
        ({"status": "Not Connected"}, Kind.UNREAD),
        ({"message": "Tunnel is Disconnected"}, Kind.TUNNEL_DOWN),
        ({"operation": "TunnelSomethingElse"}, Kind.UNREAD),
        ({}, Kind.UNREAD),
    ],
)
def test_tunnel_records(fields: dict[str, str], kind: Kind) -> None:
    event = read(fields.pop("message", ""), Category.TUNNEL, remote_ip="203.0.113.9", **fields)
    assert (event.kind, event.remote, event.category) == (kind, "203.0.113.9", Category.TUNNEL)
    assert event.name == fields.get("operation", "")


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("Main mode SA assumed to be invalid because peer stopped responding. ", 13886),
        ("DPD timed out", 13886),
        ("IKE authentication credentials are unacceptable", 13801),
        ("IKE SA deleted before establishment completed", 13808),
        ("Error processing KE payload", 13833),
        ("Require configuration payload missing", 13900),
        ("RemotelyTriggered", None),
        ("RemoteCrashTriggered", None),
        ("GlobalStandbyChanged", None),
        ("Pre-shared Key Changed", None),
        ("TunnelRemoved", None),
        ("", None),
    ],
)
def test_tunnel_reason(reason: str, code: int | None) -> None:
    event = read("", Category.TUNNEL, operation="TunnelDisconnected", remote_ip="203.0.113.9", reason=reason)
    assert (event.text, event.code) == (reason.strip(), code)


@pytest.mark.parametrize(
    ("message", "remote"),
    [
        ("Remote 203.0.113.9:500: Local 198.51.100.4:500: TunnelConnected", "203.0.113.9"),
        ("Tunnel to 203.0.113.9 connected.", "203.0.113.9"),
        ("Tunnel from 198.51.100.4 to 203.0.113.9 connected", ""),  # which of them?
        ("Tunnel to 2001:db8::9 connected", "2001:db8::9"),
        ("Tunnel connected at 12:30:45", ""),
    ],
)
def test_tunnel_remote_from_the_message(message: str, remote: str) -> None:
    assert read(message, Category.TUNNEL, operation="TunnelConnected").remote == remote


@pytest.mark.parametrize(
    ("category", "operation", "message", "kind"),
    [
        (Category.GATEWAY, "SetGatewayConfiguration", "", Kind.CONFIGURATION),
        (Category.GATEWAY, "SetConnectionConfiguration", "", Kind.CONFIGURATION),
        (Category.GATEWAY, "setvirtualnetworkgatewayconfiguration", "", Kind.CONFIGURATION),
        (Category.GATEWAY, "HostMaintenanceEvent", "HostMaintenance. State: ****Starting****", Kind.MAINTENANCE),
        (Category.GATEWAY, "", "HostMaintenance. State: ****Starting****", Kind.MAINTENANCE),
        (Category.GATEWAY, "GatewayTenantPrimaryChanged", "", Kind.PRIMARY_CHANGED),
        (Category.GATEWAY, "MigrateCustomerSubscription", "", Kind.GATEWAY_OTHER),
        (Category.GATEWAY, "GatewayResourceMove", "", Kind.GATEWAY_OTHER),
        (Category.GATEWAY, "ValidateGatewayConfiguration", "", Kind.GATEWAY_OTHER),
        (Category.ROUTE, "BgpConnectedEvent", "", Kind.BGP_UP),
        (Category.ROUTE, "BgpDisconnectedEvent", "", Kind.BGP_DOWN),
        (Category.ROUTE, "BgpRouteUpdate", "", Kind.ROUTE_OTHER),
        (Category.ROUTE, "StaticRouteUpdate", "", Kind.ROUTE_OTHER),
        (Category.P2S, "P2SLogEvent", "[MSG] [default] [OVPN_X] Connect request received. IP=0.X.X.X:XXX", Kind.P2S),
        (Category.P2S, "P2SLogEvent", "IKE Tunnel closed with status Policy match error", Kind.P2S),
    ],
)
def test_operations(category: Category, operation: str, message: str, kind: Kind) -> None:
    event = read(message, category, operation=operation)
    assert (event.kind, event.name, event.category) == (kind, operation, category)


def test_a_bgp_peer_is_not_a_tunnels_remote() -> None:
    event = read("BGP peer 10.1.0.254 connected", Category.ROUTE, operation="BgpConnectedEvent")
    assert (event.kind, event.remote, event.text) == (Kind.BGP_UP, "", "10.1.0.254")


# --- Hostile lines -----------------------------------------------------------------------------------------------------

WORDS = sorted(
    {word for line, _ in PUBLISHED for word in (*line.split(), *line.split(":"), line)}
    | {row.sample for row in grammar.ROWS}
    | {"SESSION_ID", ":{", "}", "Remote", "Local", "[", "]", "[[", "0x", "=", ":", "\n", "\x00", "\ud800", "İ", "²", "٣"}
    | {"Number of TSIs 1:", "Number of TSIs 0:", "Number of TSRs 99999:", "StartAddress", "EndAddress 1.1.1.1", "Protocol ffff"}
    | {"Policy1:", "Policy9999:", "Cipher=", "Integrity=", "DhGroup=", "Auth:", "with status", "Notify with error", "Messid :"}
)  # fmt: skip


@given(
    st.sampled_from(list(Category)),
    st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map(" ".join), st.lists(st.sampled_from(WORDS)).map("".join)),
    st.text(),
)
@example(Category.IKE, "\ud800", "\ud800")
@example(Category.IKE, FINAL + "Number of TSIs 0: StartAddress 192.0.2.1", "")
@example(Category.TUNNEL, "", "[" * 100)
def test_total(category: Category, message: str, other: str) -> None:
    """Any text anywhere gives an event with the record's own fields and within the bounds."""
    event = grammar.read(Record(None, other, category, other, other, message, other, other, other, other))
    assert (event.message, event.gateway, event.category) == (message, other, category)
    assert len(event.proposals) <= grammar.MAX_PROPOSALS
    assert max(len(event.initiator_selectors), len(event.responder_selectors)) <= grammar.MAX_SELECTORS
    assert len(event.text) <= grammar.MAX_TEXT
    assert len(event.shape) <= grammar.MAX_SHAPE
    assert all(len(value) in (0, 16) for value in (event.initiator_spi, event.responder_spi))
    assert 0 <= event.remote_port <= 65535
    assert 0 <= event.local_port <= 65535
    assert (event.kind is Kind.UNREAD) or not event.shape


@given(st.sampled_from([line for line, _ in PUBLISHED]), st.data())
def test_a_cut_line_never_says_what_the_whole_did_not(line: str, data: st.DataObject) -> None:
    """Proposals and selectors of a beginning are a beginning of those of the line; ids are its ids or none."""
    whole = read(PREFIX + line)
    part = read((PREFIX + line)[: data.draw(st.integers(len(PREFIX), len(PREFIX) + len(line)))])
    assert part.proposals == whole.proposals[: len(part.proposals)]
    assert part.initiator_selectors == whole.initiator_selectors[: len(part.initiator_selectors)]
    if not re.search("0x[0-9A-F]{13,15}$", part.message):  # a cookie with leading zeros looks the same
        assert part.initiator_spi in ("", whole.initiator_spi)
        assert part.responder_spi in ("", whole.responder_spi)
    assert part.session == whole.session


_COOKIES = st.one_of(
    st.sampled_from(("0", "CBF235637168FA00", "0BF235637168FA00", "FFFFFFFFFFFF1", "FFFFFFFFFFFFFFF2", "ffffffffffff3", "CBF235637168FA001")),
    st.text("0123456789abcdefABCDEFx", max_size=17),
)  # fmt: skip
_AROUND = st.sampled_from(
    (" iCookie 0x", " rCookie 0x", " and rCookie 0x", " Cookie 0x", " tunnelId 0x", " SPI 0x", "iCookie 0xiCookie 0x", " ",
     "[ErrorCode] 0x", "with status iCookie 0x", " Notify Message - Cookie 0x", "[IkeEvent] rCookie 0x", "]")
)  # fmt: skip


@given(
    st.sampled_from([row.sample for row in grammar.ROWS] + ["no row knows this"]),
    st.lists(st.tuples(_AROUND, _COOKIES), max_size=12),
    st.integers(0, 540),
)
@example(
    "[SEND][SA_INIT] Sending IKE SA_INIT packet with", [(" iCookie 0x", "CBF235637168FA00"), (" rCookie 0x", "0")], 0
)
@example("IKE Tunnel closed with status Policy match error", [(" iCookie 0x", "CBF235637168FA00")], 480)
@example("IKE Tunnel closed", [(" with status iCookie 0x", "CBF235637168FA00")], 0)
def test_what_is_remembered_without_its_cookies_reads_as_it_does_with_them(
    sample: str, cookies: list[tuple[str, str]], blanks: int
) -> None:
    text = sample + " " * blanks + "".join(before + cookie for before, cookie in cookies)
    grammar._read_template.cache_clear()
    other = re.sub("[1-9A-E]", "7", text)
    grammar._read_again(other)  # remembers it, if it is one and the same but for the cookies
    assert grammar._read_again(text) == grammar._read_text(text)


def test_lines_that_differ_in_their_cookies_are_read_once() -> None:
    grammar._read_template.cache_clear()
    for cookie in ("CBF235637168FA00", "A3C9358D2737DA5D", "70C9D10B840827BC"):
        assert read(f"[RECEIVED][SA_INIT] Received SA INIT iCookie 0x{cookie} rCookie 0x0").initiator_spi == cookie
    assert grammar._read_template.cache_info().misses == 1


def test_the_cap_marks_the_event() -> None:
    line = "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status Policy match error" + " " * grammar.MAX_LINE
    event = read(line)
    assert (event.kind, event.code, event.cut, event.message) == (Kind.CLOSED, 13868, True, line)


def steps(line: str) -> int:
    """Python bytecode lines executed while a line is read: a count of work that no machine's load changes."""
    count = Counter[str]()

    def trace(_frame: Any, event: str, _arg: Any) -> Any:
        count[event] += 1
        return trace

    for cache in (
        grammar._cached_text,
        grammar._read_template,
        grammar._row,
        grammar._cached_proposals,
        grammar._cached_selectors,
        grammar._address,
        grammar._endpoint,
    ):
        cache.cache_clear()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        read(line)
    finally:
        sys.settrace(before)
    return count["line"]


@pytest.mark.parametrize(
    "unit",
    [
        "Policy1:Cipher=AES-CBC-256 Integrity=SHA1 DhGroup=DhGroup2 ",
        "Number of TSIs 1: ",
        "StartAddress 192.0.2.0 EndAddress 192.0.2.255 PortStart 0 PortEnd 65535 Protocol 0, ",
        "[SEND]",
        "iCookie 0xCBF235637168FA00 ",
        "[ErrorCode] 0x3602 ",
        "with status ",
        "a",
        "Notify ",
    ],
)
@pytest.mark.parametrize(
    "start", ["", "[RECEIVED]Received Ike payload: ", FINAL + "Number of TSIs 9: ", "IKE Tunnel closed with status "]
)
def test_work_grows_no_faster_than_the_line(start: str, unit: str) -> None:
    """Twice the line, at most twice the steps. Time inside `re` is measured by tests/bench/grammar_linearity.py."""
    short = steps(start + unit * (8_000 // len(unit)))
    long = steps(start + unit * (32_000 // len(unit)))
    assert long <= 4.5 * short + 200


@pytest.mark.parametrize(
    "line",
    [
        "IkeCleanupQMNegotiation c error = and flagsa",
        "IKE Tunnel closed with status 0d[ErrorMessage]" + "Policy2:Cipher " * 60 + "[ErrorMessage]",
        "[IkeEvent]\x0b",
        "[IkeEvent]\x1f ,[ErrorCode]",
    ],
)
def test_found_by_fuzzing(line: str) -> None:
    for event in (read(line), read(PREFIX + line)):
        assert event.kind in (Kind.CLEANUP_QM, Kind.CLOSED, Kind.ERROR)
        assert (event.code, event.name) == (None, "")
        assert len(event.text) <= grammar.MAX_TEXT


def test_white_space_in_the_prefix_is_read_once() -> None:
    """Found by fuzzing: five runs of white space side by side were shared out in every way there is, at 30 times the cost."""
    line = (
        "SESSION_ID"
        + "\n" * 60
        + " :{8c0d11aa-4c80-9ab} R/emote 203.0.11:500: [SEND][NOTIFY] Sending Notify Message - Policy Mismatch"
    )
    assert read(line).remote == ""
    assert all(
        "+" in part for part in re.findall(r"\\s\{\d,\d\}\+?", grammar._SESSION + grammar._REMOTE + grammar._LOCAL)
    )


def test_random_words_never_make_a_tunnel_up() -> None:
    """Up is positive evidence only: no mixture of IKE words reads as a tunnel record's event."""
    shuffle = random.Random(7)
    for _ in range(2000):
        event = read(PREFIX + " ".join(shuffle.choices(WORDS, k=12)))
        assert event.kind not in (Kind.TUNNEL_UP, Kind.TUNNEL_DOWN, Kind.BGP_UP, Kind.BGP_DOWN)
