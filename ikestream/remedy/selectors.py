"""Finding of TrafficSelectorMismatch -> Steps and commands, least intrusive first (facts 06 2.6, 4.4)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network, summarize_address_range

from ikestream.finding import Command, Finding, Parameter
from ikestream.remedy import azure, peer
from ikestream.remedy.names import Words, networks
from ikestream.remedy.steps import Plan, Steps

MAX_PREFIXES = 8
"""Prefixes named in a command; a line with more is no longer read, and a range can need dozens."""

_ANY = frozenset({"0.0.0.0/0", "::/0"})
_WIDEST = {4: 8, 6: 16}
"""A peer's range wider than this is no site: two halves of the internet must not become routes by copy and paste."""


def cure_selectors(finding: Finding, words: Words) -> Plan:
    """Four ways in order: any-to-any at the peer, the peer initiates, prefixes, policy-based selectors."""
    ours, theirs = _prefixes(finding, Parameter.LOCAL_SELECTORS)  # ranges behind the gateway
    site_here, site_there = _prefixes(finding, Parameter.REMOTE_SELECTORS)  # ranges of the site
    any_to_any = not _specific(ours) and not _specific(site_here)
    # Any-to-any on Azure lacks nothing: then the prefixes of the site are routes, not selectors.
    missing = (
        tuple(p for p in _specific(site_there) if not _is_inside(p, site_here) and _is_site(p))
        if _specific(site_here)
        else ()
    )
    told = f" The peer asks for {', '.join(missing)}, which Azure does not have for this site." if missing else ""
    steps = Steps(
        check=f"read the prefixes on both ends: address spaces of the VNet and of the {words.site} here, selectors or"
        f" proxy IDs there.{told}",
        azure=f"only if the peer cannot change: set Connection Mode to ResponderOnly and let the peer start; Azure then accepts"
        f" the peer's selectors. Next, correct the prefixes of the {words.site}. Policy-based traffic selectors are"
        " the last choice: they end transit and any-to-any.",
        peer=f"best: any-to-any (route-based, VTI). Else exactly the prefixes of the other end, mirrored, on {words.peer}.",
        proof="the peer lists an IPsec security association for every pair of prefixes, and hosts answer.",
    )
    commands = (
        *azure.check_connection(words),
        *azure.show_site(words, "localNetworkAddressSpace.addressPrefixes"),
        *peer.view(words),
        *(peer.select_any(words) if any_to_any else ()),
        *azure.set_property(
            words,
            "connectionMode",
            "ResponderOnly",
            "The same command with Default.",
            "Azure no longer starts this tunnel; the peer has to. Rekeys may still come from Azure: watch one phase 2 lifetime.",
        ),
        *peer.select(words, _specific(site_here), _specific(ours)),
        *_add_prefixes(words, missing),
        *(
            azure.set_policy_based_selectors(words)
            if any_to_any and (_specific(theirs) or _specific(site_there))
            else ()
        ),
        *peer.restart(words),
    )
    return steps, commands


def _add_prefixes(words: Words, missing: tuple[str, ...]) -> tuple[Command, ...]:
    if not missing:
        return ()
    effect = (
        "Every connection that uses this local network gateway gets these prefixes; the list is replaced, so it must be"
        " complete. Traffic to them then goes to this site."
    )
    existing = networks(words.configured.prefixes) if words.configured is not None else ()
    return azure.set_site(
        words, "--local-address-prefixes", " ".join((*(existing or ("<existing-prefixes>",)), *missing)), effect
    )


def _prefixes(finding: Finding, parameter: Parameter) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(Azure's, the peer's) ranges for one end, as CIDRs."""
    found = next((m for m in finding.mismatch if m.parameter is parameter), None)
    return (_cidrs(found.azure), _cidrs(found.peer)) if found else ((), ())


def _cidrs(texts: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for text in texts:
        first, dash, last = text.partition("-")
        found += _summarise(first, last) if dash else networks((text,))
    return tuple(dict.fromkeys(found))[:MAX_PREFIXES]


def _summarise(first: str, last: str) -> list[str]:
    try:
        return list(networks(str(n) for n in summarize_address_range(ip_address(first), ip_address(last))))
    except (ValueError, TypeError):
        return []  # no addresses, reversed, or of two families


def _specific(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Without any-to-any, which no list of prefixes should hold."""
    return tuple(p for p in prefixes if p not in _ANY)


def _is_inside(prefix: str, prefixes: Iterable[str]) -> bool:
    network = ip_network(prefix)
    return any(str(network.supernet(new_prefix=n)) in prefixes for n in range(network.prefixlen + 1))


def _is_site(prefix: str) -> bool:
    network = ip_network(prefix)
    return network.prefixlen >= _WIDEST[network.version]
