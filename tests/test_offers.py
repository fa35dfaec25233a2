"""Offers as combinations: what is common, what is nearest, who changes; selectors against brute force."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikestream.events import Proposal, Selector
from ikestream.finding import ActionOn, Mismatch, Parameter
from ikestream.offers import (
    MAX_COMPARED,
    Comparison,
    GatewayKind,
    Phase,
    Role,
    compare,
    custom_values,
    default_offers,
    gateway_kind,
    is_default,
    parameters,
    side_to_change,
    spell,
    strongest,
    supports,
    target,
    weak,
    weak_values,
)
from ikestream.selectors import cidrs, compare_selectors, covers, ranges

SUBSCRIPTION = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg-net/providers/Microsoft.Network"
VPN = f"{SUBSCRIPTION}/virtualNetworkGateways/vpngw-hub"
VWAN = f"{SUBSCRIPTION}/vpnGateways/hub-gw"


def P(text: str) -> Proposal:  # noqa: N802  # reads like the type
    """`AES256-SHA256-DHGroup14`; a missing part is not printed."""
    parts = text.split("-")
    return Proposal(*parts, *[""] * (3 - len(parts)))


def many(*texts: str) -> tuple[Proposal, ...]:
    return tuple(P(t) for t in texts)


# What is documented (facts 01) ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gateway", "phase", "role", "count"),
    [
        (VPN, Phase.IKE, Role.INITIATOR, 6),
        (VPN, Phase.IKE, Role.RESPONDER, 6),
        (VPN, Phase.IPSEC, Role.INITIATOR, 6),
        (VPN, Phase.IPSEC, Role.RESPONDER, 26),
        (VWAN, Phase.IKE, Role.INITIATOR, 4),
        (VWAN, Phase.IKE, Role.RESPONDER, 4),
        (VWAN, Phase.IPSEC, Role.INITIATOR, 4),
        (VWAN, Phase.IPSEC, Role.RESPONDER, 19),
    ],
)
def test_as_many_default_offers_as_documented(gateway: str, phase: Phase, role: Role, count: int) -> None:
    offers = default_offers(gateway, phase, role)
    assert len(set(offers)) == count
    assert is_default(reversed(offers), gateway, phase, role)
    assert not is_default(offers[:1], gateway, phase, role)  # one proposal is a custom policy (R3)


def test_default_offers_hold_what_the_tables_say() -> None:
    assert default_offers(VPN, Phase.IKE, Role.INITIATOR) == many(
        "AES256-SHA1-DHGroup2",
        "AES256-SHA256-DHGroup2",
        "AES128-SHA1-DHGroup2",
        "AES128-SHA256-DHGroup2",
        "DES3-SHA1-DHGroup2",
        "DES3-SHA256-DHGroup2",
    )
    initiator = default_offers(VPN, Phase.IPSEC, Role.INITIATOR)
    assert initiator[0] == P("GCMAES256-GCMAES256-None")
    assert {p.group for p in initiator} == {"None"}  # Azure never offers PFS by default
    responder = default_offers(VPN, Phase.IPSEC, Role.RESPONDER)
    assert responder[9] == P("AES256-SHA1-PFS2048")
    assert {p.group for p in responder} == {"None", "PFS1", "PFS2", "PFS2048", "PFS24"}
    wan = default_offers(VWAN, Phase.IPSEC, Role.RESPONDER)
    assert not {p.encryption for p in wan} & {"DES", "DES3"}


def test_gateway_kind_is_read_in_any_case() -> None:
    assert gateway_kind(VWAN.upper()) is GatewayKind.VIRTUAL_WAN
    assert gateway_kind(VPN.upper()) is GatewayKind.VPN_GATEWAY
    assert gateway_kind("IkeLogs.txt") is GatewayKind.VPN_GATEWAY


def test_offers_logged_without_a_group_are_still_the_default() -> None:
    logged = [replace(p, group="") for p in default_offers(VPN, Phase.IPSEC, Role.INITIATOR)]
    assert is_default(logged, VPN, Phase.IPSEC, Role.INITIATOR)
    assert not is_default(logged, VWAN, Phase.IPSEC, Role.INITIATOR)


def test_custom_values_differ_between_the_two_gateways() -> None:
    assert "DHGroup2" in custom_values(GatewayKind.VPN_GATEWAY, Parameter.DH_GROUP)
    assert "DHGroup2" not in custom_values(GatewayKind.VIRTUAL_WAN, Parameter.DH_GROUP)
    assert "SHA384" not in custom_values(GatewayKind.VPN_GATEWAY, Parameter.IPSEC_INTEGRITY)  # IKE only
    assert custom_values(GatewayKind.VPN_GATEWAY, Parameter.LOCAL_SELECTORS) == ()


@pytest.mark.parametrize(
    ("logged", "azure"),
    [("3DES", "DES3"), ("des3", "DES3"), ("DHGroup2048", "DHGroup14"), ("PFS14", "PFS2048"), ("dhgroup20", "ECP384")],
)
def test_one_name_for_one_thing(logged: str, azure: str) -> None:
    assert spell(logged) == azure


def test_a_name_azure_does_not_have_stays_as_logged() -> None:
    assert spell("ChaCha20") == "ChaCha20"


@pytest.mark.parametrize(
    "value", ["DES", "3DES", "DES3", "MD5", "Md5", "SHA1", "DHGroup1", "PFS2", "DHGroup5", "DHGroup22", "PFS24"]
)
def test_weak(value: str) -> None:
    assert weak(value)


@pytest.mark.parametrize(
    "value", ["AES128", "SHA256", "SHA512", "DHGroup14", "DHGroup2048", "ECP256", "PFS2048", "GCMAES128"]
)
def test_not_weak(value: str) -> None:
    assert not weak(value)


def test_none_is_weak_as_encryption_and_not_as_pfs() -> None:
    assert weak("None", Parameter.IPSEC_ENCRYPTION)
    assert weak("NULL", Parameter.IPSEC_INTEGRITY)
    assert not weak("None", Parameter.PFS_GROUP)
    assert weak_values(P("AES256-SHA1-None"), Phase.IPSEC) == ((Parameter.IPSEC_INTEGRITY, "SHA1"),)


# Combinations --------------------------------------------------------------------------------------------------


def test_one_parameter_differs_and_every_choice_is_named() -> None:
    """Azure's default against a peer with group 14: only the group, and only what goes with that cipher and hash."""
    found = compare(
        default_offers(VPN, Phase.IKE, Role.RESPONDER),
        many("AES256-SHA256-DHGroup14", "AES256-SHA256-ECP256"),
        Phase.IKE,
    )
    assert found.common == ()
    assert found.nearest == (P("AES256-SHA256-DHGroup2"), P("AES256-SHA256-DHGroup14"))
    assert found.mismatch == (Mismatch(Parameter.DH_GROUP, ("DHGroup2",), ("DHGroup14", "ECP256")),)


def test_every_value_exists_and_no_combination_does() -> None:
    """Facts 06 R9: AES128, SHA256 and PFS24 are all in Azure's default as responder, but never together."""
    responder = default_offers(VPN, Phase.IPSEC, Role.RESPONDER)
    found = compare(responder, many("AES128-SHA256-PFS24"), Phase.IPSEC)
    assert found.common == ()
    # Row 21 (AES256-SHA256-PFS24) comes before row 22 (AES128-SHA256-None): both differ in one parameter.
    assert found.mismatch == (Mismatch(Parameter.IPSEC_ENCRYPTION, ("AES256",), ("AES128",)),)


def test_what_azure_accepts_is_told_given_the_rest_of_the_nearest() -> None:
    responder = default_offers(VPN, Phase.IPSEC, Role.RESPONDER)
    found = compare(responder, many("AES256-SHA256-ECP384"), Phase.IPSEC)
    # AES256-SHA256 stands in rows 4, 17, 18, 19, 21 with these groups.
    assert found.mismatch == (Mismatch(Parameter.PFS_GROUP, ("None", "PFS1", "PFS2", "PFS2048", "PFS24"), ("ECP384",)),)


def test_ties_go_to_azures_order_then_to_the_peers() -> None:
    azure = many("AES256-SHA256-DHGroup14", "AES128-SHA256-DHGroup14")
    peer = many("AES192-SHA256-DHGroup14", "AES256-SHA384-DHGroup14")
    assert compare(azure, peer, Phase.IKE).nearest == (azure[0], peer[0])
    assert compare(azure, peer[::-1], Phase.IKE).nearest == (azure[0], peer[1])
    assert compare(azure[::-1], peer, Phase.IKE).nearest == (azure[1], peer[0])


def test_with_aes_gcm_integrity_goes_with_encryption_and_both_are_named() -> None:
    found = compare(
        many("GCMAES256-GCMAES256-None", "AES256-SHA256-None"), many("GCMAES128-GCMAES128-None"), Phase.IPSEC
    )
    assert found.nearest == (P("GCMAES256-GCMAES256-None"), P("GCMAES128-GCMAES128-None"))
    assert found.mismatch == (
        Mismatch(Parameter.IPSEC_ENCRYPTION, ("GCMAES256",), ("GCMAES128",)),
        Mismatch(Parameter.IPSEC_INTEGRITY, ("GCMAES256",), ("GCMAES128",)),
    )


def test_another_aes_gcm_is_one_change_and_so_nearer_than_another_kind_of_cipher() -> None:
    azure = many("AES128-SHA256-None", "GCMAES256-GCMAES256-None")
    assert compare(azure, many("GCMAES128-GCMAES128-None"), Phase.IPSEC).nearest == (
        azure[1],
        P("GCMAES128-GCMAES128-None"),
    )


def test_aes_gcm_without_printed_integrity_is_the_same_offer() -> None:
    assert compare(many("GCMAES256-GCMAES256-None"), many("GCMAES256--None"), Phase.IPSEC).common == many(
        "GCMAES256-GCMAES256-None"
    )
    # In phase 1 the integrity beside AES-GCM is the PRF: unknown if not printed, different if both are.
    assert compare(many("GCMAES256-SHA384-ECP384"), many("GCMAES256--ECP384"), Phase.IKE).common == many(
        "GCMAES256-SHA384-ECP384"
    )
    assert compare(many("GCMAES256-SHA384-ECP384"), many("GCMAES256-SHA256-ECP384"), Phase.IKE).common == ()


def test_a_group_that_is_not_printed_is_not_compared() -> None:
    """IKE_AUTH carries no PFS (facts 06 1.2): None against nothing printed is no mismatch."""
    found = compare(default_offers(VPN, Phase.IPSEC, Role.RESPONDER), many("AES256-SHA256"), Phase.IPSEC)
    assert P("AES256-SHA256-None") in found.common
    assert found.mismatch == ()


def test_unknown_names_are_compared_without_case() -> None:
    assert compare(many("ChaCha20-Poly1305-x25519"), many("CHACHA20-POLY1305-X25519"), Phase.IKE).common


def test_an_unknown_side_is_no_mismatch() -> None:
    assert compare(many("AES256-SHA256-DHGroup14"), (), Phase.IKE) == Comparison()
    assert compare((), (), Phase.IKE) == Comparison()


def test_the_bound_is_told() -> None:
    peer = [Proposal("AES256", "SHA256", f"Group{i}") for i in range(MAX_COMPARED + 1)]
    assert compare(many("AES256-SHA256-DHGroup14"), peer, Phase.IKE).cut
    assert not compare(many("AES256-SHA256-DHGroup14"), peer[:-1] * 3, Phase.IKE).cut


ENCRYPTION = st.sampled_from(["AES256", "AES128", "GCMAES256", "GCMAES128", "DES3", "3des", "ChaCha20", "None"])
INTEGRITY = st.sampled_from(["SHA1", "SHA256", "sha256", "SHA384", "MD5", "SHA512"])
DH = st.sampled_from(["DHGroup2", "DHGroup14", "DHGroup2048", "ECP256", "ECP384", "DHGroup5", "DHGroup16", ""])
PFS = st.sampled_from(["None", "PFS2", "PFS2048", "PFS14", "ECP256", "PFS24", "PFS16", ""])
IKE = st.builds(Proposal, ENCRYPTION, INTEGRITY | st.just(""), DH)
IPSEC = st.builds(Proposal, ENCRYPTION, INTEGRITY, PFS)


@st.composite
def negotiations(draw: st.DrawFn) -> tuple[list[Proposal], list[Proposal], Phase]:
    phase = draw(st.sampled_from(Phase))
    offers = st.lists(IKE if phase is Phase.IKE else IPSEC, min_size=1, max_size=6)
    return draw(offers), draw(offers), phase


def plain(p: Proposal, phase: Phase) -> tuple[str, str, str]:
    """The rules of comparison said once more, differently: an independent model."""
    encryption, integrity, group = (spell(v).lower() for v in (p.encryption, p.integrity, p.group))
    if encryption.startswith("gcm"):
        integrity = encryption if phase is Phase.IPSEC else ("" if integrity.startswith("gcm") else integrity)
    return encryption, integrity, group


def agree(a: Proposal, p: Proposal, phase: Phase) -> bool:
    return all(not x or not y or x == y for x, y in zip(plain(a, phase), plain(p, phase), strict=True))


@given(negotiations())
def test_common_is_what_agrees_and_symmetric(case: tuple[list[Proposal], list[Proposal], Phase]) -> None:
    azure, peer, phase = case
    forth, back = compare(azure, peer, phase), compare(peer, azure, phase)
    assert {plain(p, phase) for p in forth.common} == {plain(p, phase) for p in back.common}
    assert bool(forth.common) == any(agree(a, p, phase) for a, p in product(azure, peer))
    assert bool(forth.common) == (forth.mismatch == ()) == (forth.nearest is None)


@given(negotiations())
def test_the_named_change_makes_both_sides_equal(case: tuple[list[Proposal], list[Proposal], Phase]) -> None:
    azure, peer, phase = case
    found = compare(azure, peer, phase)
    if found.nearest is None:
        return
    fields = dict(zip(parameters(phase), ("encryption", "integrity", "group"), strict=True))
    near_a, near_p = found.nearest
    changed = replace(near_p, **{fields[m.parameter]: getattr(near_a, fields[m.parameter]) for m in found.mismatch})
    assert agree(near_a, changed, phase)
    assert compare(azure, [changed], phase).common
    for m in found.mismatch:
        name = fields[m.parameter]
        assert getattr(near_a, name) in m.azure
        assert getattr(near_p, name) in m.peer
    if len(found.mismatch) == 1:
        (m,) = found.mismatch
        for value in m.azure:  # each value told, not only the nearest, would do
            assert compare(azure, [replace(near_p, **{fields[m.parameter]: value})], phase).common
        for value in m.peer:
            assert compare([replace(near_a, **{fields[m.parameter]: value})], peer, phase).common


@given(negotiations())
def test_nothing_is_nearer_than_the_nearest(case: tuple[list[Proposal], list[Proposal], Phase]) -> None:
    azure, peer, phase = case
    found = compare(azure, peer, phase)
    if found.nearest is None:
        return

    def distance(a: Proposal, p: Proposal) -> int:
        x, y = plain(a, phase), plain(p, phase)
        differing = [bool(i and j and i != j) for i, j in zip(x, y, strict=True)]
        if phase is Phase.IPSEC and differing[0] and x[0].startswith("gcm") and y[0].startswith("gcm"):
            return 1 + differing[2]
        return sum(differing)

    least = min(distance(a, p) for a, p in product(azure, peer))
    first = next((a, p) for a, p in product(azure, peer) if distance(a, p) == least)
    assert tuple(plain(p, phase) for p in found.nearest) == tuple(plain(p, phase) for p in first)


@given(negotiations(), st.randoms(use_true_random=False))
def test_duplicates_change_nothing(case: tuple[list[Proposal], list[Proposal], Phase], random: object) -> None:
    azure, peer, phase = case
    again = [p for p in peer for _ in range(2)] + peer
    assert compare(azure + azure, again, phase) == compare(azure, peer, phase)


# Who changes (facts 06 4.1) ------------------------------------------------------------------------------------


def default_ike(gateway: str = VPN) -> tuple[Proposal, ...]:
    return default_offers(gateway, Phase.IKE, Role.INITIATOR)


def choose(
    azure: tuple[Proposal, ...], peer: tuple[Proposal, ...], phase: Phase = Phase.IKE, gateway: str = VPN
) -> tuple[Proposal, ActionOn]:
    found = target(azure, peer, phase, gateway_kind(gateway))
    assert found is not None
    return found.proposal, found.side_to_change


def test_a_stronger_peer_and_azures_default_means_a_custom_policy() -> None:
    peer = many("AES128-SHA256-DHGroup14", "AES256-SHA256-DHGroup14", "AES256-SHA1-DHGroup2048")
    assert choose(default_ike(), peer) == (P("AES256-SHA256-DHGroup14"), ActionOn.AZURE)
    assert side_to_change(default_ike(), peer, Phase.IKE, VPN) is ActionOn.AZURE


def test_a_weak_peer_has_to_come_up_to_a_strong_azure() -> None:
    azure = many("AES256-SHA384-ECP384")
    assert choose(azure, many("AES256-SHA1-DHGroup2", "DES3-MD5-DHGroup1")) == (azure[0], ActionOn.PEER)


def test_a_strong_combination_replaces_a_weak_one_even_with_a_shorter_key() -> None:
    assert choose(many("AES256-SHA1-DHGroup2"), many("AES128-SHA256-DHGroup14")) == (
        P("AES128-SHA256-DHGroup14"),
        ActionOn.AZURE,
    )


def test_azure_is_not_weakened_for_a_peer_that_is_not_even_weak() -> None:
    assert choose(many("AES256-SHA256-DHGroup14"), many("AES128-SHA256-DHGroup14"))[1] is ActionOn.PEER


@pytest.mark.parametrize(
    "group", ["DHGroup5", "DHGroup15", "DHGroup16", "DHGroup17", "DHGroup18", "DHGroup21", "DHGroup31"]
)
def test_groups_azure_lacks_are_for_the_peer_to_change(group: str) -> None:
    assert choose(many("AES256-SHA256-DHGroup14"), many(f"AES256-SHA256-{group}")) == (
        P("AES256-SHA256-DHGroup14"),
        ActionOn.PEER,
    )
    # With the default Azure has nothing strong to offer: both ends move, and what the peer showed is kept.
    assert choose(default_ike(), many(f"AES256-SHA256-{group}")) == (P("AES256-SHA256-ECP384"), ActionOn.BOTH)


def test_ipsec_sha384_is_for_the_peer_to_change_by_the_smallest_change() -> None:
    responder = default_offers(VPN, Phase.IPSEC, Role.RESPONDER)
    # Both, because the default takes PFS from the peer but never offers it when Azure rekeys first (facts 06 2.5).
    assert choose(responder, many("AES256-SHA384-PFS2048"), Phase.IPSEC) == (P("AES256-SHA256-PFS2048"), ActionOn.BOTH)
    custom = many("AES256-SHA256-PFS2048")
    assert choose(custom, many("AES256-SHA384-PFS2048"), Phase.IPSEC) == (custom[0], ActionOn.PEER)
    assert choose(responder, many("AES256-SHA384-None"), Phase.IPSEC)[1] is ActionOn.PEER


def test_virtual_wan_allows_other_values() -> None:
    peer = many("AES192-SHA256-DHGroup14")
    assert choose(default_ike(), peer)[1] is ActionOn.AZURE
    assert choose(default_ike(VWAN), peer, gateway=VWAN)[1] is ActionOn.BOTH  # no AES192 there
    assert supports(GatewayKind.VPN_GATEWAY, peer[0], Phase.IKE)
    assert not supports(GatewayKind.VIRTUAL_WAN, peer[0], Phase.IKE)


def test_gcm_needs_itself_as_integrity() -> None:
    assert supports(GatewayKind.VPN_GATEWAY, P("GCMAES256-GCMAES256-PFS2048"), Phase.IPSEC)
    assert supports(GatewayKind.VPN_GATEWAY, P("GCMAES256--PFS2048"), Phase.IPSEC)
    assert not supports(GatewayKind.VPN_GATEWAY, P("AES256-GCMAES256-PFS2048"), Phase.IPSEC)


def test_pfs_that_no_line_prints_stays_unknown() -> None:
    found = target(many("AES256-SHA256"), many("AES256-SHA512"), Phase.IPSEC, GatewayKind.VPN_GATEWAY)
    assert found is not None
    assert found.proposal.group == ""


def test_weak_is_interim_at_most_and_never_the_worst() -> None:
    def interim(*peer: str) -> Proposal | None:
        found = target(default_ike(), many(*peer), Phase.IKE, GatewayKind.VPN_GATEWAY)
        assert found is not None
        assert not weak_values(found.proposal, Phase.IKE)
        return found.interim

    assert interim("AES192-SHA1-DHGroup2") == P("AES192-SHA1-DHGroup2")
    assert interim("DES-SHA1-DHGroup2", "AES256-MD5-DHGroup2", "AES256-SHA1-DHGroup1", "None-SHA1-DHGroup2") is None
    assert interim("AES256-SHA512-DHGroup14", "AES192-SHA1-DHGroup2") is None  # not weak only


def test_nothing_has_to_change_where_something_strong_is_common() -> None:
    same = many("AES256-SHA256-DHGroup14")
    assert choose(same, same) == (same[0], ActionOn.UNKNOWN)


def test_unknown_offers_have_no_target() -> None:
    assert target((), many("AES256-SHA256-DHGroup14"), Phase.IKE, GatewayKind.VPN_GATEWAY) is None
    assert side_to_change(default_ike(), (), Phase.IKE, VPN) is ActionOn.UNKNOWN
    assert strongest(default_ike(), Phase.IKE) is None


LEVEL = {
    0: ["DES3", "AES128", "AES192", "GCMAES128", "GCMAES192", "AES256", "GCMAES256"],
    1: ["MD5", "SHA1", "SHA256", "SHA384"],
    2: [
        "None",
        "DHGroup1",
        "PFS1",
        "DHGroup2",
        "PFS2",
        "DHGroup24",
        "PFS24",
        "DHGroup14",
        "PFS2048",
        "ECP256",
        "ECP384",
    ],
}


@given(negotiations(), st.sampled_from(GatewayKind))
@settings(max_examples=500)
def test_a_target_is_strong_and_azure_can_hold_it_and_is_not_weakened(
    case: tuple[list[Proposal], list[Proposal], Phase], kind: GatewayKind
) -> None:
    offered, peer, phase = case
    azure = [a for a in offered if supports(GatewayKind.VPN_GATEWAY, a, phase)]  # Azure offers what it has names for
    found = target(azure, peer, phase, kind)
    if found is None:
        return
    assert not weak_values(found.proposal, phase)
    if found.side_to_change in (ActionOn.AZURE, ActionOn.BOTH):
        assert supports(kind, found.proposal, phase)
    if found.side_to_change is ActionOn.AZURE:
        assert compare([found.proposal], peer, phase).common  # setting it on Azure alone is enough
        assert any(not_below(found.proposal, a, phase) for a in azure)
    if found.side_to_change is ActionOn.PEER:
        assert compare(azure, [found.proposal], phase).common
    if found.interim:
        assert found.side_to_change is ActionOn.BOTH
        assert not {"MD5", "DES", "DHGroup1", "None"} & {found.interim.encryption, found.interim.integrity}
        assert all(weak_values(p, phase) for p in peer)


def not_below(new: Proposal, now: Proposal, phase: Phase) -> bool:
    if weak_values(now, phase):
        return True
    pairs = zip((new.encryption, new.integrity, new.group), (now.encryption, now.integrity, now.group), strict=True)
    for i, (x, y) in enumerate(pairs):
        x, y = spell(x), spell(y)
        if x and y and x in LEVEL[i] and y in LEVEL[i] and LEVEL[i].index(x) < LEVEL[i].index(y):
            return False
    return True


# Selectors (facts 06 R4, R5) -----------------------------------------------------------------------------------


def s(first: str, last: str = "", port: int | None = None, protocol: int = 0) -> Selector:
    if "/" in first:
        network = ip_network(first)
        first, last = str(network[0]), str(network[-1])
    ends = (0, 65535) if port is None else (port, port)
    return Selector(first, last or first, *ends, protocol)


def test_missing_and_too_wide_as_cidrs() -> None:
    found = compare_selectors([s("10.0.0.0/16")], [s("10.0.0.0/17"), s("192.0.2.0/24")])
    assert found.common == ("10.0.0.0/17",)
    assert found.missing == ("10.0.128.0/17",)
    assert found.too_wide == ("192.0.2.0/24",)
    assert not found.disjoint
    assert not found.equal


def test_a_range_that_is_no_cidr_keeps_its_ends() -> None:
    assert ranges([s("10.0.1.0/24"), s("10.0.2.0/24")]) == ("10.0.1.0-10.0.2.255",)
    assert cidrs([s("10.0.1.0/24"), s("10.0.2.0/24")]) == ("10.0.1.0/24", "10.0.2.0/24")
    assert ranges([s("0.0.0.0/0"), s("::/0")]) == ("0.0.0.0/0", "::/0")


def test_the_single_packet_in_front_adds_nothing() -> None:
    """RFC 7296 2.9: the first selector may be the packet that triggered the negotiation."""
    packet = s("10.0.0.5", port=443, protocol=6)
    found = compare_selectors([s("10.0.0.0/24")], [packet, s("10.0.0.0/24")])
    assert found.equal
    assert found.narrowed == ()
    assert compare_selectors([s("10.0.0.0/24")], [packet]).narrowed == ("10.0.0.5/32",)


def test_disjoint_and_unreadable() -> None:
    assert compare_selectors([s("10.0.0.0/24")], [s("10.0.1.0/24")]).disjoint
    assert (
        ranges([Selector("nonsense", "10.0.0.1"), Selector("10.0.0.9", "10.0.0.1"), Selector("10.0.0.1", "::1")]) == ()
    )


def test_covers() -> None:
    assert covers([s("10.0.0.0/25"), s("10.0.0.128/25")], [s("10.0.0.0/24")])
    assert not covers([s("10.0.0.0/25")], [s("10.0.0.0/24")])
    assert not covers([s("0.0.0.0/0")], [s("2001:db8::/64")])


def span(base: str) -> st.SearchStrategy[Selector]:
    start = int(ip_address(base))
    ends = st.tuples(st.integers(0, 31), st.integers(0, 31)).map(sorted)
    return ends.map(lambda e: Selector(str(ip_address(start + e[0])), str(ip_address(start + e[1]))))


SIDE = st.lists(span("192.0.2.0") | span("2001:db8::") | span("255.255.255.224"), max_size=5)


def addresses(selectors: list[Selector]) -> set[str]:
    return {
        str(ip_address(a))
        for x in selectors
        for a in range(int(ip_address(x.start)), int(ip_address(x.end)) + 1)
        if ip_address(x.start).version == 4
    } | {
        str(ip_address(int(ip_address(x.start)) + i))
        for x in selectors
        if ip_address(x.start).version == 6
        for i in range(int(ip_address(x.end)) - int(ip_address(x.start)) + 1)
    }


def expand(texts: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    for text in texts:
        if "/" in text:
            found |= {str(a) for a in ip_network(text)}
        else:
            first, last = (ip_address(t) for t in text.split("-"))
            found |= {str(first + i) for i in range(int(last) - int(first) + 1)}
    return found


@given(SIDE, SIDE)
def test_difference_of_unions_against_brute_force(azure: list[Selector], peer: list[Selector]) -> None:
    ours, theirs = addresses(azure), addresses(peer)
    found = compare_selectors(azure, peer)
    assert expand(found.common) == ours & theirs
    assert expand(found.missing) == ours - theirs
    assert expand(found.too_wide) == theirs - ours
    assert found.disjoint == (not ours & theirs and bool(ours) and bool(theirs))
    assert covers(azure, peer) == (theirs <= ours)
    assert expand(ranges(azure)) == ours
    assert {str(a) for text in cidrs(azure) for a in ip_network(text)} == ours
    assert compare_selectors(azure[::-1] + azure, peer[::-1]) == found
