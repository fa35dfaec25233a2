"""Words, Proposal, prefixes -> Command: what is typed on the peer's device.

The syntax of each vendor is data: `data/peer_settings.json` (facts 06 4.5; from knowledge of the products, never run,
so every command says for which versions it was written). Where the inventory does not name
the device, all vendors are offered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from importlib.resources import files
from ipaddress import IPv4Network, ip_network
from typing import Any

from ikestream.events import Proposal
from ikestream.finding import ActionOn, Command, Parameter
from ikestream.offers import Phase, parameters, spell, weak
from ikestream.remedy.names import Names, Words, choose_words, networks, write

_VENDORS: dict[str, Any] = json.loads((files("ikestream") / "data" / "peer_settings.json").read_text("utf-8"))[
    "vendors"
]

MAX_ADDRESSES = 4
"""Of Azure, each with a line of its own; a gateway has two or three, and four in two generations."""

_UNDO_CHANGE = "The same lines with the values noted before."
_UNDO_RESTART = "Not needed: the tunnel negotiates again."


class Vendor(StrEnum):
    """Devices whose commands are known; the value is the `tool` of a `Command`."""

    FORTIOS = "FortiOS"
    PAN_OS = "PAN-OS"
    IOS_XE = "IOS-XE"
    ASA = "ASA"
    JUNOS = "Junos"
    STRONGSWAN = "strongSwan"


_BRANDS = (
    ("forti", (Vendor.FORTIOS,)),
    ("palo", (Vendor.PAN_OS,)),
    ("panos", (Vendor.PAN_OS,)),
    ("asa", (Vendor.ASA,)),
    ("ios", (Vendor.IOS_XE,)),
    ("cisco", (Vendor.IOS_XE, Vendor.ASA)),
    ("jun", (Vendor.JUNOS,)),
    ("srx", (Vendor.JUNOS,)),
    ("strongswan", (Vendor.STRONGSWAN,)),
)
"""(in the folded name of a device's maker or system, whose commands are meant); the first that holds."""


def vendors(words: Words) -> tuple[Vendor, ...]:
    """Return whose commands to offer: all, unless the inventory names a device that is known. An Azure gateway is none."""
    if words.peer_gateway:
        return ()
    said = re.sub(r"[^a-z]", "", words.configured.vendor.lower()) if words.configured is not None else ""
    return next((found for brand, found in _BRANDS if brand in said), tuple(Vendor))


def view(words: Words) -> tuple[Command, ...]:
    """Look at this tunnel, on every known device; read-only."""
    return tuple(
        _write(vendor, words, _VENDORS[vendor]["view"], "None; it only reads.", "Not needed.")
        for vendor in vendors(words)
    )


def restart(words: Words) -> tuple[Command, ...]:
    """Restart only this tunnel, on every known device."""
    return tuple(_restart(vendor, words) for vendor in vendors(words))


def make_peer_initiate(vendor: str, names: Names | None = None) -> Command:
    """The command that makes this device initiate once, so that its offers reach Azure's log; only while it is down.

    `vendor` is a `Vendor` or its value; another raises ValueError.
    """
    return _restart(Vendor(vendor), choose_words(names or Names("")))


def propose(words: Words, phase: Phase, proposal: Proposal) -> tuple[Command, ...]:
    """Set the peer to `proposal`. A weak or unknown value becomes a placeholder; '' for PFS leaves PFS as it is."""
    found = []
    for vendor in vendors(words):
        lines = _proposal_lines(vendor, phase, proposal)
        if lines:
            effect = f"Changes what the device offers in phase {int(phase)}; it takes effect at the next negotiation."
            note = " ".join(_VENDORS[vendor].get(k, "") for k in ("shared", "change_note")).strip()
            found.append(_write(vendor, words, lines, effect, _UNDO_CHANGE, note))
    return tuple(found)


def select(words: Words, site: Sequence[str], azure: Sequence[str]) -> tuple[Command, ...]:
    """Set the peer's selectors: `site` its own prefixes, `azure` those behind the gateway, checked CIDRs or (), which is
    what the configuration of the connection says, if it does.

    One pair is written, from the first prefixes; more of them are said to be repeated.
    """
    found = []
    known = words.configured
    if known is not None:
        site = site or networks((*(p for pair in known.selectors for p in pair.remote), *known.prefixes))
        azure = azure or networks(p for pair in known.selectors for p in pair.local)
    here, there = (site[0] if site else "<site-prefix>"), (azure[0] if azure else "<vnet-prefix>")
    values = {
        "site": here,
        "azure": there,
        "site_mask": _masked(here, wildcard=False),
        "azure_mask": _masked(there, wildcard=False),
        "site_wildcard": _masked(here, wildcard=True),
        "azure_wildcard": _masked(there, wildcard=True),
    }
    effect = "Changes the prefixes this device lets through the tunnel; it takes effect at the next negotiation."
    more = "Repeat it for every pair of prefixes." if len(site) > 1 or len(azure) > 1 else ""
    for vendor in vendors(words):
        lines = [_fill(line, values) for line in _VENDORS[vendor]["selectors"]]
        note = _VENDORS[vendor].get("change_note", "")
        found.append(_write(vendor, words, lines, effect, _UNDO_CHANGE, more, note))
    return tuple(found)


def select_any(words: Words) -> tuple[Command, ...]:
    """Let everything through the tunnel (route-based), on the devices where that is a matter of some lines."""
    effect = "Routes alone decide what enters the tunnel; it takes effect at the next negotiation."
    return tuple(
        _write(
            vendor, words, _VENDORS[vendor]["any"], effect, _UNDO_CHANGE, "The tunnel is route-based on this device."
        )
        for vendor in vendors(words)
        if "any" in _VENDORS[vendor]
    )


def key_places(words: Words) -> str:
    """Where the device holds the pre-shared key, as prose: a key is never part of a command here."""
    return "; ".join(f"{vendor}: {_VENDORS[vendor]['key']}" for vendor in vendors(words))


def _restart(vendor: Vendor, words: Words) -> Command:
    entry = _VENDORS[vendor]
    effect = "Ends this tunnel if it is up, and makes the device negotiate it anew when there is traffic."
    if len(entry["restart"]) > 1 and vendor in (Vendor.PAN_OS, Vendor.STRONGSWAN):
        effect = "Ends this tunnel if it is up, and makes the device negotiate it anew at once."
    warning = entry["restart_warning"]
    return _write(vendor, words, entry["restart"], f"{effect} {warning}".strip(), _UNDO_RESTART)


def _proposal_lines(vendor: Vendor, phase: Phase, proposal: Proposal) -> list[str]:
    entry = _VENDORS[vendor]
    key = phase.name.lower()
    combined = spell(proposal.encryption).startswith("GCM")
    template = entry.get(f"{key}_gcm" if combined else key)
    if template is None:
        return []
    encryptions = entry.get(f"{key}_encryption", entry["encryption"])
    groups = entry.get("pfs_group", entry["group"]) if phase is Phase.IPSEC else entry["group"]
    encryption_of, integrity_of, group_of = parameters(phase)
    values = {
        "encryption": _known(proposal.encryption, encryption_of, encryptions, "<encryption>"),
        "integrity": _known(proposal.integrity, integrity_of, entry[f"{key}_integrity"], "<integrity>"),
        "group": _known(proposal.group, group_of, groups, "<group>"),
    }
    if phase is Phase.IPSEC:
        pfs = entry["no_pfs"] if spell(proposal.group) == "None" else entry["pfs"] if proposal.group else []
        if len(pfs) <= 1 and any(line != "{pfs}" and "{pfs}" in line for line in template):
            values["pfs"] = _fill("".join(pfs), values)  # strongSwan: the group is part of the proposal
        else:
            template = [part for line in template for part in (pfs if line == "{pfs}" else [line])]
    return [_fill(line, values) for line in template]


def _known(value: str, parameter: Parameter, names: dict[str, str], placeholder: str) -> str:
    known = spell(value)
    return placeholder if weak(known, parameter) else names.get(known, placeholder)


def _fill(line: str, values: dict[str, str]) -> str:
    # Not str.format: only our own names in braces are replaced, once, whatever a value contains.
    for name, value in values.items():
        line = line.replace("{" + name + "}", value)
    return line


def _masked(network: str, *, wildcard: bool) -> str:
    """`10.0.0.0 0.0.255.255` or `10.0.0.0 255.255.0.0`; IPv6 and placeholders keep their form."""
    if network.startswith("<"):
        return network
    parsed = ip_network(network)
    if not isinstance(parsed, IPv4Network):
        return str(parsed)
    return f"{parsed.network_address} {parsed.hostmask if wildcard else parsed.netmask}"


def _write(vendor: Vendor, words: Words, lines: Iterable[str], effect: str, undo: str, *assumed: str) -> Command:
    several = words.azure_ips if 1 < len(words.azure_ips) <= MAX_ADDRESSES else (words.azure_ip,)
    found = [
        _fill(line, {"azure_ip": ip}) for line in lines for ip in (several if "{azure_ip}" in line else several[:1])
    ]
    text = "\n".join(found)
    told = []
    if len(words.azure_ips) > MAX_ADDRESSES and words.azure_ip in text:
        told.append(f"The Azure address is one of {', '.join(words.azure_ips)}; do it for each that fails.")
    caveat = f"Written for {_VENDORS[vendor]['versions']}; check the syntax against your version."
    return write(ActionOn.PEER, vendor.value, text, effect, undo, (*told, *assumed, caveat))
