"""seed -> the log of a fleet, of any length and quickly: what the lab wrote once per kind of tunnel, with other names in it.

The scripted gateway and peer of `ikestream.lab` write some eight hours of each kind of tunnel; every tunnel and every eight
hours then get that text with sessions, cookies, addresses and times of their own. Forty-nine tunnels in fifty are well: they
come up, renew their keys, lose a peer for a moment, hand over. The fiftieth works for an hour, fails for two in one of
six ways, both ends trying again and again, and is mended; with every eight hours it is another one's turn. So of the
records three in five come from failing negotiations, as they do in life, where who is well has little to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from time import gmtime, strftime
from uuid import UUID

from ikestream.lab import Lab
from ikestream.lab.bench import START
from ikestream.lab.delivery import wrap
from ikestream.lab.ends import Side
from ikestream.lab.site import Site
from ikestream.times import HOUR, MINUTE, SECOND

PER_GATEWAY = 25
TURN = 8 * HOUR
"""What a template lasts: an IKE SA lives as long."""
FAILING = 50
"""One tunnel of so many."""
IN_A_BODY = 20
HEALTHY_KINDS = 40
GATEWAY = "/SUBSCRIPTIONS/00000000-0000-0000-0000-0000000000BE/RESOURCEGROUPS/BENCH/PROVIDERS/MICROSOFT.NETWORK/VIRTUALNETWORKGATEWAYS/VNG-{}"

_SLOTS = re.compile(
    rb"(?P<session>(?<=\{)[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}(?=\}))"
    rb"|0x(?P<spi>[0-9A-F]{10,16})\b"
    rb'|(?P<time>(?<="time":")[^"]+)|(?P<gateway>(?<="resourceId":")[^"]+)|(?P<address>\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b)'
)


@dataclass(frozen=True, slots=True)
class Template:
    """What one tunnel writes in `TURN`: (ms from its beginning, text with slots, the number of each slot) a record."""

    records: tuple[tuple[int, bytes, tuple[int, ...]], ...]
    sessions: int
    spis: int


def stream(records: int, tunnels: int, seed: int = 0) -> Iterator[bytes]:
    """Yield hub bodies that hold at least `records` records of `tunnels` tunnels, in order of time."""
    well, ill = _templates(seed)
    random = Random(seed)
    phases = [random.randrange(TURN) for _ in range(tunnels)]
    turn = written = 0
    body: list[bytes] = []
    later: list[tuple[int, bytes, tuple[int, ...], list[bytes]]] = []
    while True:
        order, later, end = later, [], START + (turn + 1) * TURN
        for tunnel in range(tunnels):
            fails = (tunnel + 7 * turn) % min(FAILING, tunnels) == 7
            template = ill[(tunnel + turn) % len(ill)] if fails else well[tunnel % len(well)]
            begin = START + turn * TURN + phases[tunnel]
            names = _names(template, tunnel, turn)
            for at, text, slots in template.records:
                (order if begin + at < end else later).append((begin + at, text, slots, names))
        order.sort(key=lambda o: o[0])
        for at, text, slots, names in order:
            names[0] = _time(at)
            body.append(text % tuple([names[slot] for slot in slots]))
            if len(body) == IN_A_BODY:
                yield b'{"records":[%b]}' % b",".join(body)
                written += IN_A_BODY
                body = []
                if written >= records:
                    return
        turn += 1


def write(path: Path, records: int, tunnels: int, seed: int = 0) -> int:
    """Write such a log, one body a line; return how many records it has."""
    count = 0
    with path.open("wb") as file:
        for body in stream(records, tunnels, seed):
            file.write(body + b"\n")
            count += IN_A_BODY
    return count


def retries(path: Path, records: int, tunnels: int) -> int:
    """Write the worst case for judging: each record is an attempt of its own that nobody answers, each tunnel tries every 1.55 s."""
    text = (
        '{{"time":"{}","resourceId":"{}","operationName":"IKELogEvent","category":"IKEDiagnosticLog","level":"Informational",'
        '"properties":{{"instance":"GatewayTenantWorker_IN_0","message":"SESSION_ID :{{{:08x}-17c2-4028-961b-{:012x}}} Remote {}:500: '
        'Local 198.19.0.1:500: [SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x{:016X} and rCookie 0x0"}}}}'
    )
    with path.open("wb") as file:
        body = []
        for number in range(records):
            spread = number * 0x9E3779B97F4A7C15 % 2**64 | 1 << 63
            at = _time(START + number * 1_550 // tunnels).decode()
            body.append(text.format(at, GATEWAY.format(0), spread % 2**32, number, address(number % tunnels), spread))
            if len(body) == IN_A_BODY or number + 1 == records:
                file.write(b'{"records":[%b]}\n' % ",".join(body).encode())
                body = []
    return records


def connections(tunnels: int) -> Iterator[bytes]:
    """Yield the bodies that say of each tunnel that it came up."""
    text = (
        '{{"time":"{}","resourceId":"{}","operationName":"TunnelConnected","category":"TunnelDiagnosticLog","level":"Informational",'
        '"properties":{{"instance":"GatewayTenantWorker_IN_0","remoteIP":"{}","status":"Connected","stateChangeReason":"","message":""}}}}'
    )
    at = _time(START).decode()
    found = [text.format(at, GATEWAY.format(t // PER_GATEWAY), address(t)) for t in range(tunnels)]
    for first in range(0, tunnels, IN_A_BODY):
        yield b'{"records":[%b]}' % ",".join(found[first : first + IN_A_BODY]).encode()


def address(tunnel: int) -> str:
    """Return a tunnel's remote address, of the range for benchmarks (RFC 2544)."""
    return f"198.18.{tunnel // 250}.{tunnel % 250 + 1}"


def _names(template: Template, tunnel: int, turn: int) -> list[bytes]:
    """Return what stands in the slots: time, gateway, remote and local addresses, then sessions and cookies, never twice the same."""
    gateway = tunnel // PER_GATEWAY
    locals_ = [b"198.19.%d.%d" % (gateway // 100, gateway % 100 * 2 + leg) for leg in (1, 2)]
    names = [b"", GATEWAY.format(gateway).encode(), address(tunnel).encode(), *locals_]
    random = Random(tunnel << 20 | turn)
    names += [str(UUID(int=random.getrandbits(128), version=4)).encode() for _ in range(template.sessions)]
    names += [b"%016X" % (random.getrandbits(64) | 1 << 63) for _ in range(template.spis)]
    return names


@lru_cache(4096)
def _second(second: int) -> bytes:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(second)).encode()


def _time(at: int) -> bytes:
    return b"%b.%03d0000Z" % (_second(at // 1000), at % 1000)


def _templates(seed: int) -> tuple[list[Template], list[Template]]:
    well = []
    for number in range(HEALTHY_KINDS):
        lab = Lab(seed * 1_000 + number, tunnel_log=True, virtual_wan=False)
        site = lab.site()
        _live(site, number)
        well.append(_template(lab, site))
    ill = []
    for number, fault in enumerate(_FAULTS * 2):
        lab = Lab(seed * 1_000 + 500 + number, tunnel_log=True, virtual_wan=False)
        site = lab.site()
        site.run(HOUR)
        _fail(site, fault)
        ill.append(_template(lab, site))
    return well, ill


def _live(site: Site, number: int) -> None:
    """A working day: some lose their peer for a moment, some are taken over, some renew often."""
    if number % 10 == 3:
        site.set(azure={"lifetime": 7_200, "child_lifetime": 3_600})
    if number % 10 == 7:
        site.run(5 * HOUR)
        site.drop(13886, reason="DPD timed out")
    elif number % 20 == 9:
        site.run(4 * HOUR)
        site.take_over(40 * SECOND, reason="StandbyChanged")
    site.run(START + TURN - site.now)


def _fail(site: Site, fault: Callable[[Site], None]) -> None:
    azure, peer = site.azure, site.peer
    fault(site)
    site.drop(13885)
    site.run(2 * HOUR)
    site.azure, site.peer = azure, peer
    for life in site.lives:
        life.next_try = dict.fromkeys(Side, site.now + MINUTE)
    site.run(START + TURN - site.now)


def _other_group(site: Site) -> None:
    policy = site.peer.policy
    ike = tuple(replace(p, group="DHGroup24" if p.group != "DHGroup24" else "ECP384") for p in policy.ike)
    site.set(peer={"policy": replace(policy, ike=ike)})


def _other_child(site: Site) -> None:
    policy = site.peer.policy
    esp = tuple(replace(p, encryption="DES3", integrity="MD5") for p in policy.esp_offered[:1])
    site.set(peer={"policy": replace(policy, esp_offered=esp, esp_accepted=esp)})


_FAULTS: tuple[Callable[[Site], None], ...] = (
    lambda site: site.set(peer={"key": "two"}),
    _other_group,
    lambda site: site.set(peer={"answers": False, "heard": False}),
    _other_child,
    lambda site: site.set(peer={"nat": True, "passes_4500": False}),
    lambda site: site.set(azure={"initiates": False}, peer={"key": "two"}),
)


def _template(lab: Lab, site: Site) -> Template:
    remote = site.peer.address.encode()
    locals_ = [life.leg.local.encode() for life in site.lives]
    fixed = {remote: 2} | {local: 3 + place for place, local in enumerate(locals_)}
    sessions: dict[bytes, int] = {}
    spis: dict[bytes, int] = {}
    found: list[tuple[int, bytes, list[tuple[str, int]]]] = []
    for record in sorted(lab.log.records, key=lambda r: r.at or 0):
        slots: list[tuple[str, int]] = []

        def slot(match: re.Match[bytes], slots: list[tuple[str, int]] = slots) -> bytes:
            kind, value = match.lastgroup or "", match[match.lastgroup or 0]
            if kind == "address":
                if value not in fixed:
                    return match[0]
                slots.append(("fixed", fixed[value]))
                return b"%b"
            if kind in ("time", "gateway"):
                slots.append(("fixed", int(kind == "gateway")))
                return b"%b"
            table = sessions if kind == "session" else spis
            slots.append((kind, table.setdefault(value.upper(), len(table))))
            return b"%b" if kind == "session" else b"0x%b"

        text = wrap([record]).removeprefix(b'{"records":[').removesuffix(b"]}")
        assert b"%" not in text
        found.append(((record.at or 0) - START, _SLOTS.sub(slot, text), slots))
    first = {"fixed": 0, "session": 5, "spi": 5 + len(sessions)}
    records = tuple(
        (at, text, tuple(first[kind] + n for kind, n in slots)) for at, text, slots in found if 0 <= at < TURN
    )
    return Template(records, len(sessions), len(spis))
