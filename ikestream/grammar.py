"""Record -> IkeEvent: what one line of a VPN gateway's diagnostic log says.

`read` is total: any text gives an event, a line that no row of the table knows gives `Kind.UNREAD` with its masked
shape. It works in one pass over the line: prefix (session, endpoints), bracket tags, then the words of the body choose
one row of `ROWS`, and the row says how the rest is read. Every regular expression here has bounded repetitions or
a fixed first letter, so the time per line is linear in its length (`tests/bench/grammar_linearity.py` measures it).

Nothing is concluded across lines: who is right, what failed and why is for the modules downstream.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from ikestream import algorithms, codes
from ikestream.events import Category, Direction, IkeEvent, Kind, Proposal, Record, Selector

MAX_LINE: Final = 65_536  # 16 + 16 selectors make 3 KB; what stands behind this is not read and the event is marked cut
MAX_HEAD: Final = 512  # the words that name a line stand at its beginning
MAX_TEXT: Final = 512  # the longest Windows message has 245 characters
MAX_TAGS: Final = 8  # two were seen
MAX_PROPOSALS: Final = 32  # the default responder policy has 26
MAX_SELECTORS: Final = 256  # per side; 16 were seen
MAX_SHAPE: Final = 160
MAX_ADDRESS: Final = 80  # brackets, an IPv6 address with its zone and a port
MAX_CACHED: Final = 4096  # a longer payload is read anew each time: the caches hold small texts only
CACHE: Final = 1024

_FLAGS: Final = re.IGNORECASE | re.ASCII
_Fields = dict[str, Any]  # fields of the IkeEvent to be


# --- Prefix: SESSION_ID :{guid} Remote ip:port: Local ip:port: ------------------------------------------------------

_ENDPOINT: Final = (
    r"([0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?"  # 203.0.113.9:500
    r"|\[[0-9a-f:.%]{2,60}\](?::[0-9]{1,5})?"  # [2001:db8::1]:500
    r"|[0-9a-f.]{0,15}:[0-9a-f:.]{1,60}"  # 2001:db8::1:500
    r"|[^\s:\[\]]{1,60}:[0-9]{1,5})"  # an address somebody blackened: the line is still a line
)
# White space is taken possessively: five runs of it side by side would otherwise be shared out in every way there is.
_SESSION: Final = r"\s{0,8}+session[_ ]?id\s{0,8}+:?\s{0,8}+\{?\s{0,8}+([0-9a-z-]{0,64})\s{0,8}+\}?[\s:,]{0,8}+"
_REMOTE: Final = rf"\s{{0,8}}+remote\s{{1,8}}+{_ENDPOINT}[\s:,]{{0,8}}+"
_LOCAL: Final = rf"\s{{0,8}}+local\s{{1,8}}+{_ENDPOINT}[\s:,]{{0,8}}+"
# The usual line in one match; `_prefix` reads the same parts in any order when this fails.
_USUAL_PREFIX: Final = re.compile(_SESSION + _REMOTE + _LOCAL, _FLAGS)
_PARTS: Final = {
    "session": re.compile(_SESSION, _FLAGS),
    "remote": re.compile(_REMOTE, _FLAGS),
    "local": re.compile(_LOCAL, _FLAGS),
}


@lru_cache(CACHE)
def _address(text: str) -> str:
    """Canonical text of an address; '' if it is none. An IPv4-mapped IPv6 address is the IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    if address.version == 6 and (mapped := address.ipv4_mapped) is not None:
        return str(mapped)
    return str(address).partition("%")[0]


@lru_cache(CACHE)
def _endpoint(text: str) -> tuple[str, int]:
    """(address, port) of `203.0.113.9:500`, `2001:db8::1:500:` or `[2001:db8::1]:500`; ('', 0) if it is none."""
    text = text.strip()
    if text.endswith(":") and not text.endswith("::"):
        text = text[:-1]
    host, colon, port = text.rpartition(":")
    if (
        colon
        and port.isascii()
        and port.isdigit()
        and int(port[:6]) <= 65535
        and (address := _address(host.strip("[]")))
    ):
        return address, int(port)
    return _address(text.strip("[]")), 0


def _guid(text: str) -> str:
    """A session id in lower case. The null GUID would join strangers' negotiations into one session: it is none."""
    session = text.lower()
    return session if session.strip("0-") else ""


def _prefix(line: str) -> tuple[str, str, str, int]:
    """(session, remote endpoint, local endpoint, where the body begins), each '' if missing, in any order."""
    if usual := _USUAL_PREFIX.match(line):
        return usual[1], usual[2], usual[3], usual.end()
    found = dict.fromkeys(_PARTS, "")
    end = 0
    for _ in _PARTS:
        for part, pattern in _PARTS.items():
            if not found[part] and (match := pattern.match(line, end)):
                found[part] = match[1]
                end = match.end()
    return found["session"], found["remote"], found["local"], end


def body(message: str) -> str:
    """What a line says after the session and the endpoints, tags included: the seed query's IKEMessage."""
    return message[_prefix(message[:MAX_LINE])[3] :].strip()


# --- Tags: [RECEIVED][SA_INIT] --------------------------------------------------------------------------------------

_TAG: Final = re.compile(r"\s{0,8}\[([^\[\]]{1,64})\]\s{0,8}")
_DIRECTIONS: Final = {
    **dict.fromkeys(("send", "sent", "sending"), Direction.SENT),
    **dict.fromkeys(("received", "receive", "receiving", "recv", "rcvd"), Direction.RECEIVED),
    **dict.fromkeys(("local",), Direction.LOCAL),
}
_KEY_TAG: Final = re.compile(
    r"\s{0,8}\[\s{0,4}(?:error\s{0,2}code|error\s{0,2}message|ike\s{0,2}event|ts\s{0,2}id)\b", _FLAGS
)


def _tags(line: str, start: int) -> tuple[Direction, str, int]:
    """(direction, all leading tags as words, where the text begins). `[ErrorCode]`, `[Tsid ..]` belong to the text."""
    direction = Direction.NONE
    words = []
    for _ in range(MAX_TAGS):
        if not (tag := _TAG.match(line, start)) or _KEY_TAG.match(line, start):
            break
        folded = _spaced(tag[1])
        if direction is Direction.NONE:
            direction = _DIRECTIONS.get(folded.partition(" ")[0], Direction.NONE)
        words.append(folded)
        start = tag.end()
    return direction, " ".join(words), start


# --- Words ----------------------------------------------------------------------------------------------------------

# ASCII punctuation separates words, except nothing: `SA_INIT`, `SA INIT` and `Sa-Init` are the same two words.
_SEPARATORS: Final = str.maketrans({chr(code): " " for code in range(128) if not chr(code).isalnum()})
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def _spaced(text: str) -> str:
    return " ".join(text.lower().translate(_SEPARATORS).split())


def _words(body: str) -> str:
    """The words a row is chosen by, without numbers and ids: `received sa init icookie and generated new rcookie`."""
    head = body[:MAX_HEAD].strip()
    if head.isalnum():  # an insight id of Microsoft's support workflow: the log's phrase in CamelCase
        head = _CAMEL.sub(" ", head)
    return " ".join(filter(str.isalpha, head.lower().translate(_SEPARATORS).split()))


_SENT_VERBS: Final = "sending sent send proposed proposing retransmitting retransmitted retransmit resending resent"
_RECEIVED_VERBS: Final = "received receiving receive recv rcvd"
_VERBS: Final = {
    **dict.fromkeys(_SENT_VERBS.split(), Direction.SENT),
    **dict.fromkeys(_RECEIVED_VERBS.split(), Direction.RECEIVED),
}


def _verb(words: list[str]) -> Direction:
    """Who acts, by the first verb among the first words. What the *peer* sent, Azure received."""
    for index, word in enumerate(words[:5]):
        if direction := _VERBS.get(word):
            before = words[:index]
            if direction is Direction.SENT and ("peer" in before or "remote" in before):
                return Direction.RECEIVED
            return direction
    return Direction.NONE


# --- Ids ------------------------------------------------------------------------------------------------------------

_ID: Final = re.compile(r"0x([0-9a-f]{1,64})")
_ID_NAME: Final = re.compile(
    r"(?:^|[^a-z])(?:(tunnel\s{0,4}id)|(ts\s{0,4}id)|(?:(i|initiator)|(?:r|responder))[\s_-]{0,4}(?:cookie|spi))[\s:=]{0,4}$",
    re.ASCII,
)
SPI_DIGITS: Final = 16
SHORTEST_SPI: Final = 13  # a cookie begins with four zeros once in 65,536: shorter at the end of a line, it was cut


def _ids(body: str) -> tuple[_Fields, bool]:
    """tunnelId, tsId and both SPIs by the word before their 0x.., and whether one of them was cut.

    Zero is no SPI yet (RFC 7296 3.1). The names stand close before the number, with or without a space inside.
    """
    head = body[:MAX_HEAD].lower()
    found: _Fields = {}
    cut = False
    at = head.find("0x")
    while at >= 0:
        if (name := _ID_NAME.search(head[max(0, at - 24) : at])) and (value := _ID.match(head, at)):
            digits = value[1].lstrip("0")
            if name[1] or name[2]:
                found.setdefault("tunnel_id" if name[1] else "ts_id", "0x" + (digits or "0"))
            elif value.end() == len(body.rstrip()) and 0 < len(digits) < SHORTEST_SPI:
                cut = True
            elif len(digits) <= SPI_DIGITS:
                spi = digits.upper().rjust(SPI_DIGITS, "0") if digits else ""
                found.setdefault("initiator_spi" if name[3] else "responder_spi", spi)
        at = head.find("0x", at + 2)
    return found, cut


# --- Proposals: Policy1:Cipher=.. Integrity=.. DhGroup=.. -----------------------------------------------------------

_PROPOSAL_KEY: Final = re.compile(
    r"policy\s{0,2}[0-9]{1,4}\s{0,2}:"
    r"|(?:cipher|encryption|integrity|hash|dh\s?group|pfs\s?group|pfs|group)\s{0,2}=",
    _FLAGS,
)
_COLUMNS: Final = {
    "cipher": "encryption",
    "encryption": "encryption",
    "integrity": "integrity",
    "hash": "integrity",
    "dhgroup": "group",
    "pfsgroup": "group",
    "pfs": "group",
    "group": "group",
}
_AUTH: Final = re.compile(r"\bauth\s{0,2}[:=]\s{0,2}([a-z][a-z0-9 _]{0,47})([-,;]|\s{0,4}policy|$)", _FLAGS)
_PROPOSAL_WORDS: Final = ("policy", "cipher=", "integrity=", "dhgroup=", "pfsgroup=")


def _rows_of_proposals(payload: str) -> tuple[list[dict[str, str]], str]:
    """(column -> value as logged, one dict a proposal; what follows the last value)."""
    keys = []
    for match in _PROPOSAL_KEY.finditer(payload):
        keys.append(match)
        if len(keys) > MAX_PROPOSALS * 4 + 4:  # at most four keys make a proposal
            break
    rows: list[dict[str, str]] = []
    rest = ""
    for index, key in enumerate(keys):
        end = keys[index + 1].start() if index + 1 < len(keys) else min(len(payload), key.end() + MAX_TEXT)
        value, rest = (*payload[key.end() : end].split(None, 1), "", "")[:2]
        name = codes.fold(key[0])
        if name.startswith("policy"):
            rows.append({})
            continue
        column = _COLUMNS[name]
        if not rows or column in rows[-1]:
            rows.append({})
        rows[-1][column] = value.strip(" \t\r\n,;.")
    return rows, rest.strip()


def _is_half(row: dict[str, str], others: list[dict[str, str]], columns: tuple[str, ...]) -> bool:
    """Whether the last proposal of a line lacks something that the line prints elsewhere, or else should print."""
    missing = [column for column in columns if not row.get(column)]
    if missing == ["integrity"] and algorithms.is_combined_mode(algorithms.encryption(row["encryption"])):
        return False
    if others and all(not other.get(column) for other in others for column in missing):
        return False  # this gateway never prints it
    return bool(missing)


def _read_proposals(payload: str, phase: int) -> tuple[tuple[Proposal, ...], bool]:
    """The proposals of a payload in order, in Azure's names, and whether it ends in the middle."""
    rows, rest = _rows_of_proposals(payload)
    cut = bool(rest) and any(word.startswith(codes.fold(rest[:16])) for word in _PROPOSAL_WORDS)
    if rows:
        values = list(rows[-1].values())
        columns = ("encryption", "integrity", "group") if phase == 1 else ("encryption", "integrity")
        fragment = bool(values) and not rest and algorithms.is_fragment(values[-1])
        if fragment or _is_half(rows[-1], rows[:-1], columns):
            cut = True
            rows.pop()
    if len(rows) > MAX_PROPOSALS:
        cut = True
    proposals = []
    for row in rows[:MAX_PROPOSALS]:
        encryption = algorithms.encryption(row.get("encryption", ""))
        integrity = algorithms.integrity(row.get("integrity", ""))
        group = row.get("group", "")
        if phase == 2 and algorithms.is_combined_mode(encryption):
            integrity = encryption  # ESP with AES-GCM has no other integrity; Azure's policy repeats the name
        proposals.append(
            Proposal(encryption, integrity, algorithms.dh_group(group) if phase == 1 else algorithms.pfs_group(group))
        )
    return tuple(proposals), cut


# --- Traffic selectors: Number of TSIs 1: StartAddress .. EndAddress .. PortStart .. PortEnd .. Protocol .. ---------

_SELECTOR_KEY: Final = re.compile(
    r"number\s{1,4}of\s{1,4}ts([ir])s?\s{0,4}:?\s{0,4}([0-9]{1,6})"
    r"|(start\s?address|end\s?address|port\s?start|start\s?port|port\s?end|end\s?port|protocol)\s{0,4}[:=]?\s{0,4}([0-9a-f:.]{1,45})",
    _FLAGS,
)
_SELECTOR_COLUMNS: Final = {
    "startaddress": "start",
    "endaddress": "end",
    "portstart": "port_start",
    "startport": "port_start",
    "portend": "port_end",
    "endport": "port_end",
    "protocol": "protocol",
}
_Selectors = tuple[tuple[Selector, ...], tuple[Selector, ...], bool]


def _selector(row: dict[str, str]) -> Selector | None:
    """A selector from its printed values; None if they make no range (RFC 7296 3.13.1)."""
    try:
        start, end = ip_address(row.get("start", "")), ip_address(row.get("end", ""))
        ports = int(row.get("port_start", "0")), int(row.get("port_end", "65535"))
        protocol = int(row.get("protocol", "0"))
    except ValueError:
        return None
    if start.version != end.version or int(start) > int(end) or max(ports) > 65535 or protocol > 255:
        return None
    return Selector(str(start), str(end), *ports, protocol)


def _read_selectors(payload: str) -> _Selectors:
    """(TSi, TSr, whether anything announced is missing). A selector before any header has no side and is not read."""
    sides: dict[str, list[dict[str, str]]] = {"i": [], "r": []}
    announced = {"i": 0, "r": 0}
    rows: list[dict[str, str]] | None = None
    fresh = cut = False
    for key in _SELECTOR_KEY.finditer(payload):
        if side := key[1]:
            rows, fresh = sides[side.lower()], True
            announced[side.lower()] += int(key[2])
        elif rows is None:
            cut = True
        else:
            column = _SELECTOR_COLUMNS["".join(key[3].split()).lower()]
            if fresh or column in rows[-1]:
                if len(rows) >= MAX_SELECTORS:
                    rows, cut = None, True
                    continue
                rows.append({})
                fresh = False
            rows[-1][column] = key[4].rstrip(".")
    printed = [row for side in sides.values() for row in side]
    if printed and len(printed[-1]) < max(map(len, printed[:-1]), default=len(set(_SELECTOR_COLUMNS.values()))):
        cut = True
        (sides["r"] or sides["i"]).pop()
    read = {side: [_selector(row) for row in rows] for side, rows in sides.items()}
    whole = {side: tuple(one for one in found if one is not None) for side, found in read.items()}
    cut = cut or any(len(whole[side]) < announced[side] or None in read[side] for side in sides)
    return whole["i"], whole["r"], cut


_cached_proposals = lru_cache(CACHE)(_read_proposals)
_cached_selectors = lru_cache(CACHE // 8)(_read_selectors)


# --- What a row reads in the rest of its line -----------------------------------------------------------------------

_PAYLOAD: Final = re.compile(r"policy\s{0,2}1\s{0,2}:|number\s{1,4}of", _FLAGS)
_STATUS: Final = re.compile(r"with\s{0,4}status[\s:=-]{0,8}|status\s{0,4}[:=]\s{0,4}", _FLAGS)
_NOTIFY: Final = re.compile(r"notify\s{0,4}(with\s{0,4}error|message|payload|type)?[\s:=-]{0,8}", _FLAGS)
_CALLED_WITH: Final = re.compile(r"\berror\b[\s:=]{0,4}", _FLAGS)
_WINDOWS_ERROR: Final = re.compile(r"windows\s{0,4}error[\s:=]{0,4}(0x[0-9a-f]{1,16}|-?[0-9]{1,10})", _FLAGS)
_NUMBER_FIRST: Final = re.compile(r"\s{0,8}(0x[0-9a-f]{1,16}|-?[0-9]{1,10})(?![0-9a-z])", _FLAGS)
_KEYED: Final = re.compile(r"\[\s{0,4}(error\s?code|error\s?message|ike\s?event)\s{0,4}\]\s{0,4}[:=]?\s{0,4}", _FLAGS)
_MESSAGE_ID: Final = re.compile(r"[\s,;]{0,8}messid\s{0,4}:[^:]{0,80}$", _FLAGS)


def _own_words(text: str) -> str:
    """A status's or notify's own words: up to the end of its line or to the next bracket key."""
    return text[:MAX_TEXT].strip().partition("\n")[0].partition(" [")[0].strip()


def _payload(body: str) -> str:
    """What follows the ids of a line, so that the same offers in another attempt are the same text to the cache."""
    start = _PAYLOAD.search(body)
    return body[start.start() :] if start else body


def _read_ike(body: str) -> _Fields:
    fields = _read_esp(body, 1)
    if auth := _AUTH.search(body[:MAX_HEAD]):
        if auth[2]:
            fields["auth"] = auth[1].strip()
        else:
            fields["cut"] = True  # `Auth:PreSha` at the end of the line
    return fields


def _read_esp(body: str, phase: int = 2) -> _Fields:
    reader = _cached_proposals if len(body) <= MAX_CACHED else _read_proposals
    proposals, cut = reader(_payload(body), phase)
    return {"proposals": proposals, "cut": cut}


def _read_traffic_selectors(body: str) -> _Fields:
    reader = _cached_selectors if len(body) <= MAX_CACHED else _read_selectors
    initiator, responder, cut = reader(_payload(body))
    return {"initiator_selectors": initiator, "responder_selectors": responder, "cut": cut}


def _code_fields(text: str) -> _Fields:
    """Text in code position: the code it stands for, also when the line was cut inside a message only one code has."""
    if first := _NUMBER_FIRST.match(text):
        return {"code": codes.number(first[1]), "text": text[first.end() :].strip(" ()")}
    if code := codes.find(text):
        return {"code": code.number, "text": text}
    if code := codes.complete(text):
        return {"code": code.number, "text": text, "cut": True}
    return {"text": text}


def _read_closed(body: str) -> _Fields:
    status = _STATUS.search(body[:MAX_HEAD])
    fields: _Fields = {}
    if status:
        fields = _code_fields(_own_words(body[status.end() :]))
    elif code := codes.find(_own_words(body)):  # `IKE Tunnel closed: Policy match error`
        fields = {"code": code.number, "text": code.message}
    return fields | (_read_keyed(body) if _KEYED.search(body[:MAX_HEAD]) else {})


def _read_cleanup(body: str) -> _Fields:
    error = _CALLED_WITH.search(body[:MAX_HEAD])
    fields = _code_fields(_own_words(body[error.end() :])) if error else {}
    if fields.get("text", "").startswith("and flags"):
        del fields["text"]
    return fields


def _read_notify(body: str) -> _Fields:
    """The text after `Notify Message -` or `Notify with error`; without either, a registered name anywhere."""
    template = _NOTIFY.search(body[:MAX_HEAD])
    text = _own_words(body[template.end() :]) if template else _own_words(body)
    with_error = bool(template and template[1] and template[1].lower().startswith("with"))
    entry = codes.notify(text)
    if (
        entry is None and template and not text.strip(" .")
    ):  # `Peer sent NO_PROPOSAL_CHOSEN notify`, `Sending DoS Cookie Notify`
        words = body[: template.start()].split()[-4:]
        entry = next(filter(None, (codes.notify(" ".join(words[start:])) for start in range(len(words)))), None)
    if not with_error and entry:
        return {"text": text or entry.name, "name": entry.name}
    fields = _code_fields(text)
    if fields.get("code") is None and entry:
        fields["name"] = entry.name
    return fields


def _read_keyed(body: str) -> _Fields:
    """`[ErrorCode] 0x3602 [ErrorMessage] .. [IkeEvent] ..` in any combination and order; the number outranks text."""
    keys = []
    for key in _KEYED.finditer(body[: MAX_HEAD * 4]):
        keys.append(key)
        if len(keys) == MAX_TAGS:
            break
    values: dict[str, str] = {}
    for index, key in enumerate(keys):
        end = min(key.end() + MAX_TEXT, keys[index + 1].start() if index + 1 < len(keys) else len(body))
        values.setdefault("".join(key[1].lower().split()), body[key.end() : end].strip().strip(",; "))
    message, event = values.get("errormessage", ""), values.get("ikeevent", "")
    number = values.get("errorcode") or (body[: keys[0].start()] if keys else "")  # `13801 [ErrorMessage] ..`
    if not keys:
        return _read_error(body)
    fields: _Fields = _code_fields(message) if message else {}
    if (first := _NUMBER_FIRST.match(number)) and (code := codes.number(first[1])):
        fields["code"] = code
    elif "errorcode" in values and (known := codes.resolve(number)):
        fields["code"] = known.number
    return fields | ({"name": event.split()[0]} if event.split() else {})


def _read_error(body: str) -> _Fields:
    """`.. failed with Windows error 13801(ERROR_IPSEC_IKE_AUTH_FAIL)`, or a Windows message by itself."""
    if error := _WINDOWS_ERROR.search(body[: MAX_HEAD * 2]):
        symbol = codes.resolve(error[1])
        return {"code": codes.number(error[1]), "text": symbol.symbol if symbol else ""}
    text = _own_words(body)
    return {"text": text} | ({"code": code.number} if (code := codes.find(text)) else {})


def _read_nothing(_: str) -> _Fields:
    return {}


# --- The table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One shape of line.

    `needs`: runs of words that must all stand in the line, alternatives separated by `|`; numbers and ids are not
    words, punctuation and case do not count. `lacks`: runs of which none may. `by`: who must act, by verb or else by
    tag. `sample`: a line of this shape, read in the tests.
    """

    kind: Kind
    needs: tuple[str, ...]
    sample: str
    by: Direction | None = None
    lacks: str = ""
    reads: Callable[[str], _Fields] = _read_nothing


# A sentence about an exchange that went wrong is not that exchange: `Failed to send SA_INIT` is nobody's SA_INIT.
_WENT_WRONG: Final = (
    "failed|failure|failing|unable|cannot|could not|ignoring|ignored|dropping|dropped|discarding|discarded|rejecting"
    "|rejected|invalid|error|timed out|timeout|no response|not received"
)
_NOT_SENT: Final = "failed to send|failed to construct|unable to send|could not send|cannot send|not sent"
_SENT, _RECEIVED = Direction.SENT, Direction.RECEIVED
_IKE_PAYLOAD: Final = "ike payload|ikepayload|ike policy payload|ike proposal|ike proposals|main mode payload"
_ESP_PAYLOAD: Final = (
    "ipsec policy payload|ipsec payload|ipsecpayload|ipsec proposal|ipsec proposals|esp payload|quick mode payload"
)
_SELECTOR: Final = "traffic selector|traffic selectors|ts payload"
_SA_INIT: Final = "sa init|sainit"

# The first row that holds wins: what ends a negotiation before what reports an error, that before the exchanges.
ROWS: Final[tuple[Row, ...]] = (
    Row(
        Kind.CLOSED,
        ("tunnel closed|tunnel is closed|tunnel was closed|tunnel has been closed",),
        "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status Policy match error",
        reads=_read_closed,
    ),
    Row(
        Kind.CLEANUP_MM,
        ("ikecleanupmmnegotiation|cleanupmmnegotiation|cleanup mm negotiation|cleanup main mode negotiation",),
        "IkeCleanupMMNegotiation called with error 13868",
        reads=_read_cleanup,
    ),
    Row(
        Kind.CLEANUP_QM,
        ("ikecleanupqmnegotiation|cleanupqmnegotiation|cleanup qm negotiation|cleanup quick mode negotiation",),
        "IkeCleanupQMNegotiation called with error 13868 and flags a",
        reads=_read_cleanup,
    ),
    Row(
        Kind.ERROR,
        ("errorcode|errormessage|ikeevent",),
        "[ErrorCode] 0x3602 [ErrorMessage] Failed to verify signature",
        reads=_read_keyed,
    ),
    Row(
        Kind.ERROR,
        ("windows error",),
        "IkeFindPayloadInPacket failed with Windows error 13843(ERROR_IPSEC_IKE_INVALID_PAYLOAD)",
        reads=_read_error,
    ),
    Row(
        Kind.NOTIFY_SENT,
        ("notify|notifywith|notifywitherror",),
        "[SEND][NOTIFY] Sending Notify Message - Policy Mismatch",
        by=_SENT,
        lacks=_NOT_SENT,
        reads=_read_notify,
    ),
    Row(
        Kind.NOTIFY_RECEIVED,
        ("notify|notifywith|notifywitherror",),
        "[RECEIVED][NOTIFY] Received Notify Message - Authentication failed",
        by=_RECEIVED,
        reads=_read_notify,
    ),
    Row(
        Kind.TS_FINAL,
        (_SELECTOR, "final|finally|negotiated|agreed"),
        "[SEND] Proposed Traffic Selector payload will be (Final Negotiated) - [Tsid 0xe  ]Number of TSIs 1: "
        "StartAddress 192.0.2.0 EndAddress 192.0.2.255 PortStart 0 PortEnd 65535 Protocol 0 Number of TSRs 1:"
        "StartAddress 198.51.100.0 EndAddress 198.51.100.255 PortStart 0 PortEnd 65535 Protocol 0",
        lacks=_WENT_WRONG,
        reads=_read_traffic_selectors,
    ),
    Row(
        Kind.IKE_OTHER,  # what the peer made of Azure's selectors: narrowed, but no proof that the child came up
        (_SELECTOR, "response|reply|answer"),
        "[RECEIVED] Received Traffic Selector payload response- [Tsid 0x37  ]Number of TSIs 1: StartAddress "
        "192.0.2.0 EndAddress 192.0.2.255 PortStart 0 PortEnd 65535 Protocol 0 Number of TSRs 1:StartAddress "
        "198.51.100.0 EndAddress 198.51.100.255 PortStart 0 PortEnd 65535 Protocol 0",
        by=_RECEIVED,
        lacks=_WENT_WRONG,
        reads=_read_traffic_selectors,
    ),
    Row(
        Kind.TS_REQUESTED,
        (_SELECTOR,),
        "Received Traffic Selector payload request- [Tsid 0x729  ]Number of TSIs 1: StartAddress 192.0.2.0 EndAddress "
        "192.0.2.255 PortStart 0 PortEnd 65535 Protocol 0 Number of TSRs 1:StartAddress 198.51.100.0 EndAddress "
        "198.51.100.255 PortStart 0 PortEnd 65535 Protocol 0",
        by=_RECEIVED,
        lacks=_WENT_WRONG,
        reads=_read_traffic_selectors,
    ),
    Row(
        Kind.TS_PROPOSED,
        (_SELECTOR,),
        "Proposed(send) Traffic Selector payload will be- [Tsid 0x37 ]Number of TSIs 1: StartAddress 0.0.0.0 "
        "EndAddress 255.255.255.255 PortStart 0 PortEnd 65535 Protocol 0 Number of TSRs 1:StartAddress 0.0.0.0 "
        "EndAddress 255.255.255.255 PortStart 0 PortEnd 65535 Protocol 0",
        by=_SENT,
        lacks=_WENT_WRONG,
        reads=_read_traffic_selectors,
    ),
    Row(
        Kind.IKE_SENT,
        (_IKE_PAYLOAD,),
        "[SEND]Sending Ike payload for tunnel Id 0x3: Auth:PreShared Key- Policy1:Cipher=AES-CBC-256 Integrity=SHA1 "
        "DhGroup=DhGroup2 Policy2:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup2",
        by=_SENT,
        lacks=_WENT_WRONG,
        reads=_read_ike,
    ),
    Row(
        Kind.IKE_RECEIVED,
        (_IKE_PAYLOAD,),
        "[RECEIVED]Received Ike payload: Policy1:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup14",
        by=_RECEIVED,
        lacks=_WENT_WRONG,
        reads=_read_ike,
    ),
    Row(
        Kind.ESP_SENT,
        (_ESP_PAYLOAD,),
        "[SEND]Sending IPSec policy Payload for tunnel Id 0x3, tsId 0x37: Policy1:Integrity=AES-GCM-256 "
        "Cipher=AES-GCM-256 Policy2:Integrity=SHA1 Cipher=AES-CBC-256",
        by=_SENT,
        lacks=_WENT_WRONG,
        reads=_read_esp,
    ),
    Row(
        Kind.ESP_RECEIVED,
        (_ESP_PAYLOAD,),
        "[RECEIVED]Received IPSec payload: Policy1:Cipher=DESIntegrity=Md5",
        by=_RECEIVED,
        lacks=_WENT_WRONG,
        reads=_read_esp,
    ),
    Row(
        Kind.MM_PACKET,  # logged in IKEv2 sessions too: `MM` tells no IKE version
        ("mm packet|main mode packet",),
        "[RECEIVED] Receiving MM Packet for tunnel Id 0x3 iCookie 0xCBF235637168FA00 and rCookie 0x69284B72D78CBC71: "
        "Receiving MM Nonce",
        by=_RECEIVED,
        lacks=_WENT_WRONG,
    ),
    Row(
        Kind.RESPONDER_SPI,
        ("generated|generating", "rcookie|responder cookie|responder spi"),
        "[LOCAL_MSG][SA_INIT] Received SA INIT iCookie 0xA3C9358D2737DA5D and Generated new rCookie 0x70C9D10B840827BC",
        lacks=_WENT_WRONG,
    ),
    Row(
        Kind.RESPONDER_SPI,
        (_SA_INIT, "response|reply"),
        "[SEND][SA_INIT] Sending IKE SA_INIT response with iCookie 0xA3C9358D2737DA5D rCookie 0x70C9D10B840827BC",
        by=_SENT,
        lacks=_WENT_WRONG,
    ),
    Row(
        Kind.SA_INIT_SENT,
        (_SA_INIT,),
        "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0xCBF235637168FA00 and rCookie 0x0",
        by=_SENT,
        lacks=_WENT_WRONG,
    ),
    Row(
        Kind.SA_INIT_ANSWERED,
        (_SA_INIT, "response|reply"),
        "[RECEIVED][SA_INIT] Received IKE SA Init response message with iCookie 0xCBF235637168FA00 rCookie "
        "0x69284B72D78CBC71",
        by=_RECEIVED,
        lacks=_WENT_WRONG,
    ),
    Row(
        Kind.SA_INIT_RECEIVED,
        (_SA_INIT,),
        "[RECEIVED][SA_INIT] Received SA INIT iCookie 0xA3C9358D2737DA5D rCookie 0x0",
        by=_RECEIVED,
        lacks=_WENT_WRONG,
    ),
    Row(
        Kind.AUTH_SENT,
        ("sa auth|ike auth|auth message|auth request|auth response",),
        "[SEND][SA_AUTH] Sending SA AUTH message for tunnelId 0x3 and tsId 0x37",
        by=_SENT,
        lacks=_WENT_WRONG,
    ),
    Row(
        Kind.AUTH_RECEIVED,
        ("sa auth|ike auth|auth message|auth request|auth response",),
        "[RECEIVED][SA_AUTH] Received IKE AUTH message",
        by=_RECEIVED,
        lacks=_WENT_WRONG,
    ),
    Row(
        Kind.ERROR,
        ("no matching tunnel was found",),
        "The incoming IKE connection was ignored because no matching tunnel was found for the connection.",
        reads=_read_error,
    ),
    Row(
        Kind.ERROR,
        ("wrong ip which is not configured",),
        "[Reason Verbose]Incoming IKE from Wrong IP which is not configured",
        reads=_read_error,
    ),
    Row(
        Kind.ERROR,
        ("auth method", "not supported by policy"),
        "Remote Auth method 0 not supported by policy",
        reads=_read_error,
    ),
    Row(Kind.IKE_OTHER, ("lifetime change", "notify"), "Processing LIFETIME change QM Notify"),
    Row(Kind.IKE_OTHER, ("expire notification",), "Received Expire Notification -> Deleting QM"),
    Row(Kind.IKE_OTHER, ("dos mode on",), "DoS mode on"),
    Row(Kind.IKE_OTHER, ("construct cert request|process payload certreq",), "Construct CERT REQUEST"),
)


def _alternatives(phrases: str) -> tuple[str, ...]:
    return tuple(f" {phrase} " for phrase in phrases.split("|")) if phrases else ()


_COMPILED: Final = tuple((row, tuple(map(_alternatives, row.needs)), _alternatives(row.lacks)) for row in ROWS)


@lru_cache(CACHE)
def _row(tags: str, words: str, tagged: Direction) -> tuple[Row | None, Direction]:
    """The row that tags and words choose, and who acts: the body's verb says it, or else the tag."""
    by = _verb(words.split()) or tagged
    text = f" {tags} {words} "
    for row, needs, lacks in _COMPILED:
        if (
            (row.by is None or row.by is by)
            and all(any(phrase in text for phrase in alternatives) for alternatives in needs)
            and not any(phrase in text for phrase in lacks)
        ):
            return row, by
    return None, by


# --- Lines nothing reads --------------------------------------------------------------------------------------------

# A word is kept if it is plain: letters only, not too long, and no value of a key. Everything else may be an address,
# an id, a name or a secret.
_PLAIN: Final = re.compile(r"[A-Za-z]{1,24}(?:[_-][A-Za-z]{1,24}){0,4}", re.ASCII)
_TOKEN: Final = re.compile(r"[^\s\[\](){}<>,;:=\"`|]{1,80}|[\[\](){}<>,;:=\"`|]|\s{1,80}", re.ASCII)
_NAMING_WORDS: Final = (
    "user username account upn identity id name cn dn mail email host hostname fqdn secret key psk token"
)
_NAMING: Final = frozenset(_NAMING_WORDS.split())


def mask(text: str) -> str:
    """The shape of a text: plain words and punctuation; all else is `#`, also what follows `=` or `user` or is quoted.

    What is left identifies nobody and repeats for lines that differ in their values only. At most 160 characters.
    """
    shape: list[str] = []
    hidden = False  # the next word is somebody's value
    quote = ""
    length = 0
    for token in _TOKEN.finditer(text[: MAX_SHAPE * 4]):
        part = token[0]
        if quote:
            if part.endswith(quote):
                quote, hidden = "", False
            continue
        if part.isspace():
            part = " "
        elif part in '"`' or (part.startswith("'") and not part.endswith("'", 1)):
            quote, part = part[0], "#"
        elif part in "[](){}<>,;:=|":
            hidden = part == "=" or (hidden and part == ":")
        else:
            word = part.strip(".!?")
            plain = _PLAIN.fullmatch(word) is not None
            if hidden or not plain:
                part = "#"
            hidden = plain and word.lower() in _NAMING
        if not (part in "# " and shape and shape[-1] == part):
            shape.append(part)
            length += len(part)
        if length >= MAX_SHAPE:
            break
    return "".join(shape).strip()[:MAX_SHAPE]


# --- The five categories --------------------------------------------------------------------------------------------


def _read_ike_log(record: Record) -> IkeEvent:
    message = record.message
    line = message[:MAX_LINE]
    session, remote, local, start = _prefix(line)
    remote_address, remote_port = _endpoint(remote) if remote else ("", 0)
    local_address, local_port = _endpoint(local) if local else ("", 0)
    read = _read_again(line[start:])
    event = IkeEvent(  # by position, which is faster: every record comes by here
        record.at, record.gateway, read.kind, message, record.category, record.instance, _guid(session),
        remote_address, remote_port, local_address, local_port, *read[1:],
    )  # fmt: skip
    return event if len(message) <= MAX_LINE else replace(event, cut=True)


class _Read(NamedTuple):
    """What the words after the endpoints say: the kind, and then the fields of an IkeEvent from `direction` on, in order."""

    kind: Kind
    direction: Direction
    initiator_spi: str = ""
    responder_spi: str = ""
    tunnel_id: str = ""
    ts_id: str = ""
    auth: str = ""
    proposals: tuple[Proposal, ...] = ()
    initiator_selectors: tuple[Selector, ...] = ()
    responder_selectors: tuple[Selector, ...] = ()
    cut: bool = False
    code: int | None = None
    text: str = ""
    name: str = ""
    shape: str = ""


_ESCAPED: Final = re.compile(r"\\[rnt]")


def _read_text(text: str) -> _Read:
    if "\\" in text or text[-1:] == '"':  # exported by something that escapes or quotes once too often
        text = _ESCAPED.sub(" ", text).strip('" ')
    tagged, tags, begin = _tags(text, 0)
    body = text[begin:]
    if "essid" in body[-96:] and (message_id := _MESSAGE_ID.search(body[-128:])):
        body = body[: len(body) - len(message_id[0])]
    row, by = _row(tags, _words(body), tagged)
    acts = row.by is not None if row else True  # in a status or error the verb is somebody else's
    ids, ids_cut = _ids(body)
    fields: _Fields
    shape = ""
    if row is not None:
        kind = row.kind
        fields = row.reads(body)
        # Only an answer carries a responder SPI (RFC 7296 3.1), whatever words the line has for it.
        if ids.get("responder_spi"):
            if kind is Kind.SA_INIT_SENT:
                kind = Kind.RESPONDER_SPI
            elif kind is Kind.SA_INIT_RECEIVED:
                kind = Kind.SA_INIT_ANSWERED
    else:
        kind, fields = _read_unknown(body)
        acts = kind is Kind.UNREAD
        if kind is Kind.UNREAD:
            shape = mask(text)
    if ids_cut:
        fields = fields | {"cut": True}
    return _Read(kind, tagged or (by if acts else Direction.NONE), shape=shape, **ids, **fields)


# A gateway says the same few hundred things again and again, with other cookies. They are taken out, each an F for
# every digit and its place in the line at the end, and put into what was read.
_COOKIE: Final = re.compile(r"(?<=ookie 0x)[1-9a-fA-F][0-9a-fA-F]{12,15}(?![0-9a-zA-Z])")
_STAND_IN: Final = "F" * (SHORTEST_SPI - 1)
_cached_text = lru_cache(CACHE)(_read_text)


@lru_cache(CACHE)
def _read_template(text: str) -> _Read | None:
    """What a text with stand-ins says; None where one shows up elsewhere than as a cookie."""
    read = _read_text(text)
    elsewhere = (read.text, read.name, read.tunnel_id, read.ts_id, read.shape)
    return None if any(_STAND_IN in said.upper() for said in elsewhere) else read


def _read_again(text: str) -> _Read:
    """What `_read_text` reads, remembered where that can be."""
    if len(text) > MAX_CACHED:
        return _read_text(text)
    # What is longer may be cut off in the middle of a cookie; who writes so many Fs writes them himself.
    if "ookie 0x" not in text or len(text) > MAX_HEAD or _STAND_IN in text.upper():
        return _cached_text(text)
    cookies: list[str] = []

    def stand_in(cookie: re.Match[str]) -> str:
        cookies.append(cookie[0])
        return f"{_DIGITS[len(cookie[0])]}{len(cookies)}"

    read = _read_template(_COOKIE.sub(stand_in, text, 9))
    if read is None:
        return _read_text(text)
    initiator, responder = read.initiator_spi, read.responder_spi
    if _STAND_IN in initiator:
        initiator = cookies[int(initiator[-1]) - 1].upper().rjust(SPI_DIGITS, "0")
    if _STAND_IN in responder:
        responder = cookies[int(responder[-1]) - 1].upper().rjust(SPI_DIGITS, "0")
    return _Read._make((*read[:2], initiator, responder, *read[4:]))


_DIGITS: Final = tuple("F" * (digits - 1) for digits in range(SPI_DIGITS + 1))


def _read_unknown(body: str) -> tuple[Kind, _Fields]:
    """A line without a row: a Windows message by itself is an error; of any other, what can be read for certain."""
    text = _own_words(body)
    if code := codes.message(text):
        return Kind.ERROR, {"code": code.number, "text": text}
    fields: _Fields = {}
    if code := codes.find(text):
        fields = {"code": code.number, "text": code.message}
    if "dhgroup=" in body[:MAX_HEAD].lower():  # without a group it could be either phase, or half a line
        fields |= _read_esp(body, 1)
    return Kind.UNREAD, fields


_ADDRESS: Final = re.compile(
    r"(?<![0-9a-z.:])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-f]{0,4}:[0-9a-f:.]{2,40})(?![0-9a-z.])", _FLAGS
)


def _only_address(text: str) -> str:
    """The address in a text of unknown layout, if there is exactly one."""
    found = {address for match in _ADDRESS.finditer(text[:MAX_HEAD]) if (address := _address(match[0]))}
    return found.pop() if len(found) == 1 else ""


def _read_tunnel_log(record: Record) -> IkeEvent:
    """TunnelConnected / TunnelDisconnected: the operation says which, or else the status, or else the message."""
    kind = Kind.UNREAD
    for said in (record.operation, record.status, record.message[:MAX_HEAD]):
        word = codes.fold(said[:MAX_HEAD])
        if "disconnected" in word:
            kind = Kind.TUNNEL_DOWN
        elif "connected" in word and "notconnected" not in word:
            kind = Kind.TUNNEL_UP
        if kind is not Kind.UNREAD:
            break
    message = record.message[:MAX_LINE]
    session, remote, local, _ = _prefix(message)
    text = record.reason[:MAX_TEXT].strip()
    code = codes.find(text) if text else codes.find(message)
    remote_address, remote_port = _endpoint((record.remote_ip or remote)[:MAX_ADDRESS])
    local_address, local_port = _endpoint(local)
    return IkeEvent(
        at=record.at,
        gateway=record.gateway,
        kind=kind,
        message=record.message,
        category=record.category,
        instance=record.instance,
        session=_guid(session),
        remote=remote_address or _only_address(message),
        remote_port=remote_port,
        local=local_address,
        local_port=local_port,
        code=code.number if code else None,
        text=text,
        name=record.operation,
        shape=mask(f"{record.operation} {record.status} {message}") if kind is Kind.UNREAD else "",
    )


# (part of the operation's name, kind); the first that holds
_GATEWAY_OPERATIONS: Final = (
    ("hostmaintenance", Kind.MAINTENANCE),
    ("tenantprimarychanged", Kind.PRIMARY_CHANGED),
    ("setgatewayconfiguration", Kind.CONFIGURATION),
    ("setconnectionconfiguration", Kind.CONFIGURATION),
)
_ROUTE_OPERATIONS: Final = (("bgpdisconnected", Kind.BGP_DOWN), ("bgpconnected", Kind.BGP_UP))


def _read_operation(record: Record, operations: tuple[tuple[str, Kind], ...], other: Kind) -> IkeEvent:
    """A gateway or route record by its operation; by its message only where the source has no operation."""
    said = codes.fold(record.operation[:MAX_HEAD] or record.message[:MAX_HEAD])
    kind = next((kind for part, kind in operations if part in said), other)
    if other is Kind.GATEWAY_OTHER and said.startswith("set") and said.endswith("configuration"):
        kind = Kind.CONFIGURATION
    remote, port = _endpoint(record.remote_ip[:MAX_ADDRESS])
    # The layout of BGP messages is not published; the peer's address there is an inner one, never a tunnel's remote.
    text = _only_address(record.message) if kind in (Kind.BGP_UP, Kind.BGP_DOWN) else ""
    return IkeEvent(
        at=record.at,
        gateway=record.gateway,
        kind=kind,
        message=record.message,
        category=record.category,
        instance=record.instance,
        remote=remote,
        remote_port=port,
        text=text,
        name=record.operation,
    )


def read(record: Record) -> IkeEvent:
    """What a record says. Never raises; what no row knows is `Kind.UNREAD` and carries its masked `shape`.

    Reads at most 64 KiB of the message, 32 proposals, 256 selectors a side and 8 tags; beyond any of them the event
    is `cut`. Facts about lines and their sources: the rows' samples and `tests/test_grammar.py`.
    """
    match record.category:
        case Category.IKE:
            return _read_ike_log(record)
        case Category.TUNNEL:
            return _read_tunnel_log(record)
        case Category.GATEWAY:
            return _read_operation(record, _GATEWAY_OPERATIONS, Kind.GATEWAY_OTHER)
        case Category.ROUTE:
            return _read_operation(record, _ROUTE_OPERATIONS, Kind.ROUTE_OTHER)
        case Category.P2S:
            return _read_operation(record, (), Kind.P2S)
