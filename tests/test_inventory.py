"""Files as `az` and Resource Manager write them -> what is configured; and how one reading follows upon another.

The files in `inventories/` were written by hand after the documented shapes: the connections of the lab's gateway with
everything beside the name (az), and a Virtual WAN with its settings under `properties` (Resource Manager).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ikestream import codec
from ikestream.events import Proposal
from ikestream.inventory import Connection, Connections, Inventory, Mode, Version, VpnGateway, renew
from ikestream.inventory.connections import Ended, Listing, Pair
from ikestream.inventory.documents import Gathered, put_together, scrub
from ikestream.inventory.files import BadInventory, load
from ikestream.times import DAY, EXPECTED_LEG_AGE

INVENTORIES = Path(__file__).parent / "inventories"
AZ = INVENTORIES / "az"
LAB = "/subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/rg/providers/microsoft.network/virtualnetworkgateways/vng-lab"
WAN = "/subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/rg-wan/providers/microsoft.network/vpngateways/vpngw-hub"


def of(inventory: Inventory, key: str, remote: str) -> Connection:
    version = inventory.of(key).of(remote)
    assert version is not None
    return version.connection


# --- files --------------------------------------------------------------------------------------------------------


def test_a_connection_is_put_together_from_what_az_lists() -> None:
    inventory, missing = load([AZ])

    assert missing == ()
    seattle = of(inventory, LAB, "203.0.113.7")
    assert (seattle.name, seattle.resource_group) == ("cn-seattle", "RG")
    assert (seattle.ike, seattle.ipsec) == (
        Proposal("AES256", "SHA256", "DHGroup14"),
        Proposal("GCMAES256", "GCMAES256", "PFS2048"),
    )
    assert (seattle.lifetime, seattle.size) == (14400, 102400000)
    assert (seattle.protocol, seattle.mode, seattle.dpd, seattle.bgp) == ("IKEv2", Mode.RESPONDER_ONLY, 45, True)
    assert (seattle.site, seattle.site_group) == ("lng-seattle", "rg-sites")
    assert (seattle.prefixes, seattle.asn, seattle.bgp_addresses) == (("10.9.0.0/16",), 65010, ("169.254.21.2",))
    assert seattle.vendor == "FortiOS"
    portland = of(inventory, LAB, "203.0.113.8")
    assert (portland.custom, portland.protocol, portland.dpd) == (False, "IKEv1", 0)
    assert portland.also == ("198.51.100.8", "198.51.100.80")
    gateway = inventory.of(LAB).gateway
    assert gateway is not None
    assert (gateway.addresses, gateway.active_active, gateway.p2s) == (("192.0.2.4", "192.0.2.5"), True, False)
    assert (gateway.network, gateway.network_group) == ("vnet-hub", "rg-net")


def test_a_site_that_azure_looks_up_by_name_has_no_address_and_is_the_one_azure_calls() -> None:
    inventory, _ = load([AZ])
    connections = inventory.of(LAB)

    assert connections.of("198.51.100.200") is None
    version = connections.of("198.51.100.200", called=True)
    assert version is not None
    branch = version.connection
    assert (branch.name, branch.fqdn, branch.remote) == ("cn-branch", "branch.example.com", "")
    assert (branch.policy_based, branch.selectors) == (
        True,
        (Pair(("10.1.0.0/16",), ("10.20.0.0/24", "10.21.0.0/24")),),
    )


def test_the_other_gateway_of_two_virtual_networks_is_a_peer_and_has_clients() -> None:
    inventory, _ = load([AZ])

    hub = of(inventory, LAB, "192.0.2.40")
    assert (hub.name, hub.kind, hub.site) == ("cn-hub", "Vnet2Vnet", "vng-hub")
    other = inventory.of(LAB.replace("vng-lab", "vng-hub")).gateway
    assert other is not None
    assert other.p2s


def test_each_tunnel_to_another_gateway_has_the_inner_address_of_its_instance(tmp_path: Path) -> None:
    shutil.copytree(AZ, tmp_path / "az")
    gateways = json.loads((AZ / "vnet-gateways.json").read_text("utf-8"))
    hub = next(g for g in gateways if g["name"] == "vng-hub")
    peerings = [
        {"defaultBgpIpAddresses": [inner], "customBgpIpAddresses": [], "tunnelIpAddresses": [outer]}
        for inner, outer in (("10.40.255.4", "192.0.2.40"), ("10.40.255.5", "192.0.2.41"))
    ]
    hub["bgpSettings"] = {"asn": 65040, "bgpPeeringAddress": "10.40.255.4,10.40.255.5", "bgpPeeringAddresses": peerings}
    (tmp_path / "az" / "vnet-gateways.json").write_text(json.dumps(gateways), "utf-8")
    connections = json.loads((AZ / "vpn-connections.json").read_text("utf-8"))
    next(c for c in connections if c["name"] == "cn-hub")["enableBgp"] = True
    (tmp_path / "az" / "vpn-connections.json").write_text(json.dumps(connections), "utf-8")

    inventory, _ = load([tmp_path / "az"])
    one, two = of(inventory, LAB, "192.0.2.40"), of(inventory, LAB, "192.0.2.41")
    assert (one.bgp_addresses, two.bgp_addresses) == (("10.40.255.4",), ("10.40.255.5",))
    assert inventory.of(LAB).inside("10.40.255.5") == two


def test_express_route_is_no_vpn() -> None:
    inventory, _ = load([AZ])

    assert LAB.replace("vng-lab", "ergw") not in inventory.gateways
    assert all(v.connection.name != "er-main" for c in inventory.gateways.values() for v in c.versions)


def test_each_link_of_virtual_wan_is_a_tunnel_of_its_own() -> None:
    inventory, missing = load([INVENTORIES / "virtual-wan"])

    assert missing == ()
    fibre, lte = of(inventory, WAN, "203.0.113.30"), of(inventory, WAN, "203.0.113.31")
    assert (fibre.name, fibre.link, fibre.site, fibre.site_link) == ("cn-plant", "lc-fibre", "site-plant", "sl-fibre")
    assert fibre.custom
    assert (fibre.asn, fibre.bgp_addresses) == (65030, ("10.30.0.1",))
    assert (lte.link, lte.mode, lte.custom) == ("lc-lte", Mode.INITIATOR_ONLY, False)
    assert lte.prefixes == ("10.30.0.0/16",)
    assert lte.vendor == "Fortinet"
    gateway = inventory.of(WAN).gateway
    assert gateway is not None
    assert gateway.addresses == ("192.0.2.60", "192.0.2.61")  # and not the private ones


def test_both_shapes_say_the_same(tmp_path: Path) -> None:
    outside = {"id", "name", "type", "location", "tags", "etag", "resourceGroup"}
    for file in AZ.glob("*.json"):
        nested = [
            {k: v for k, v in r.items() if k in outside}
            | {"properties": {k: v for k, v in r.items() if k not in outside}}
            for r in json.loads(file.read_text("utf-8"))
        ]
        (tmp_path / file.name).write_text(json.dumps({"value": nested}), "utf-8")

    assert load([tmp_path]) == load([AZ])


def test_no_key_gets_past_the_door() -> None:
    for folder in ("az", "virtual-wan"):
        inventory, _ = load([INVENTORIES / folder])
        assert "not-for-anybody" in "".join(f.read_text("utf-8") for f in (INVENTORIES / folder).glob("*.json"))
        assert "not-for-anybody" not in repr(inventory)
        gathered = Gathered()
        for file in (INVENTORIES / folder).glob("*.json"):
            document = json.loads(file.read_text("utf-8"))
            for resource in document["value"] if isinstance(document, dict) else document:
                gathered.add(resource)
        assert "not-for-anybody" not in repr(gathered)


@pytest.mark.parametrize("name", ["sharedKey", "SharedKey", "shared_key", "authorizationKey", "radiusServerSecret"])
def test_whatever_is_called_a_key_is_dropped_however_deep(name: str) -> None:
    assert scrub({"a": [{name: "x", "ike": 1}]}) == {"a": [{"ike": 1}]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_powershell_redirects_is_read_too(tmp_path: Path, encoding: str) -> None:
    for file in AZ.glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text("utf-8"), encoding)

    assert load([tmp_path]) == load([AZ])


def test_without_the_list_of_gateways_the_connections_know_theirs() -> None:
    inventory, missing = load([AZ / "vpn-connections.json", AZ / "local-gateways.json"])

    assert of(inventory, LAB, "203.0.113.7").name == "cn-seattle"
    assert any("cn-hub" in line for line in missing)  # of the other gateway no address is known


def test_without_the_sites_it_is_said_what_is_missing() -> None:
    inventory, missing = load([AZ / "vpn-connections.json", AZ / "vnet-gateways.json"])

    assert inventory.of(LAB).of("203.0.113.7") is None
    assert "connection cn-seattle: the address of its local network gateway lng-seattle is not given" in missing


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("Name  ResourceGroup\n----\ncn  rg\n", "not JSON"),
        ('"text"', "no list of resources"),
        ('[{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v"}]', "neither"),
        ('{"value": [], "nextLink": "https://x"}', "first page"),
    ],
)
def test_a_file_that_is_no_inventory_is_named_in_one_line(tmp_path: Path, body: str, said: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(body, "utf-8")

    with pytest.raises(BadInventory) as bad:
        load([file])
    assert said in str(bad.value)
    assert str(file) in str(bad.value)
    assert "\n" not in str(bad.value)


def test_a_file_that_is_not_there_and_a_folder_without_any(tmp_path: Path) -> None:
    with pytest.raises(BadInventory, match="No such file"):
        load([tmp_path / "none.json"])
    with pytest.raises(BadInventory, match=r"no \*\.json"):
        load([tmp_path])


@pytest.mark.parametrize("odd", [None, 3, [], {}, {"id": 7}, {"id": "x" * 9999}, {"id": "/a/microsoft.network"}])
def test_odd_resources_are_counted_and_harm_nobody(odd: Any) -> None:
    gathered = Gathered()
    gathered.add(odd)

    assert gathered.other == 1
    assert put_together(gathered) == ((), ())


def test_odd_values_are_left_out() -> None:
    connections = json.loads((AZ / "vpn-connections.json").read_text("utf-8"))
    connections[0] |= {
        "ipsecPolicies": [{"dhGroup": "x; rm -rf /", "ikeEncryption": 3}],
        "connectionMode": ["Default"],
        "dpdTimeoutSeconds": True,
        "trafficSelectorPolicies": [{"localAddressRanges": ["10.0.0.0/99", "fe80::1%eth0/64"]}],
        "localNetworkGateway2": {"gatewayIpAddress": "203.0.113.300"},
    }
    gathered = Gathered()
    gathered.add(connections[0])
    (listing,), _ = put_together(gathered)

    (connection,) = listing.connections
    assert connection.remote == ""
    assert (connection.custom, connection.mode, connection.dpd) == (False, Mode.DEFAULT, 0)
    assert connection.selectors == (Pair((), ()),)


# --- one reading after the other ----------------------------------------------------------------------------------

GATEWAY = VpnGateway("/g/One", "One", "rg")
KEY = "/g/one"
A = Connection("/c/a", "cn-a", "rg", "203.0.113.7", site="lng-a")
B = Connection("/c/b", "cn-b", "rg", "203.0.113.8", site="lng-b")


def readings(*found: tuple[int, tuple[Connection, ...]]) -> Connections:
    inventory = Inventory()
    for at, connections in found:
        inventory = renew(inventory, [Listing(GATEWAY, connections)], at)
    return inventory.gateways[KEY]


def test_what_stays_is_one_version_however_often_it_is_read() -> None:
    assert readings((10, (A,)), (20, (A,)), (30, (A,))).versions == (Version(A, 10),)


def test_a_change_ends_one_version_and_begins_another() -> None:
    changed = replace(A, ike=Proposal("AES256", "SHA256", "DHGroup14"), ipsec=Proposal("AES256", "SHA256", "None"))
    found = readings((10, (A, B)), (20, (changed, B)))

    now = found.of("203.0.113.7")
    assert now == Version(changed, 20)
    assert list(found.before(now)) == [Version(A, 10, 20)]
    assert found.ended("203.0.113.7") == ()


def test_a_removed_connection_has_ended_when_it_was_first_missed() -> None:
    found = readings((10, (A, B)), (20, (B,)), (30, (B,)))

    assert found.ended("203.0.113.7") == (Ended(20, Version(A, 10, 20)),)
    assert found.ended("203.0.113.8") == ()


def test_a_moved_connection_says_where_it_went() -> None:
    moved = replace(A, remote="198.51.100.7")
    found = readings((10, (A,)), (20, (moved,)))

    assert found.ended("203.0.113.7") == (Ended(20, Version(A, 10, 20), moved),)
    assert found.of("198.51.100.7") == Version(moved, 20)


def test_a_connection_that_was_made_again_had_ended_all_the_same() -> None:
    found = readings((10, (A,)), (20, ()), (30, (A,)))

    assert found.ended("203.0.113.7") == (Ended(20, Version(A, 10, 20)),)
    assert found.of("203.0.113.7") == Version(A, 30)
    assert found.first_had("203.0.113.7") == 10


def test_an_address_without_a_connection_at_the_first_reading_has_ended_by_then_and_in_a_file_at_no_time() -> None:
    assert readings((10, (A,))).ended("203.0.113.8") == (Ended(10),)
    assert readings((0, (A,))).ended("203.0.113.8") == ()


def test_while_an_address_is_looked_up_by_name_none_counts_as_gone() -> None:
    named = replace(B, remote="", fqdn="b.example.com")
    assert readings((10, (A, named))).ended("203.0.113.8") == ()


def test_an_address_that_nobody_could_read_has_ended_with_its_connection_and_no_earlier() -> None:
    """Said to have ended at the first reading, it would end outages of then, an hour later."""
    unread = replace(B, remote="")
    assert readings((10, (A, unread)), (20, (A, unread))).ended("203.0.113.8") == ()
    assert readings((10, (A, unread)), (70, (A,)), (80, (A,))).ended("203.0.113.8") == (Ended(70),)
    assert readings((10, (A, unread)), (70, (A, B))).ended("203.0.113.9") == (Ended(70),)


def test_a_gateway_that_is_gone_takes_its_connections_along_and_is_forgotten_after_a_month() -> None:
    inventory = renew(renew(Inventory(), [Listing(GATEWAY, (A,))], 10), [], 20)
    assert inventory.gateways[KEY].ended("203.0.113.7") == (Ended(20, Version(A, 10, 20)),)

    assert renew(inventory, [], 20 + EXPECTED_LEG_AGE).gateways == {}


def test_versions_are_bounded() -> None:
    found = readings(*((at, (replace(A, dpd=at),)) for at in range(1, 40)))
    assert [v.since for v in found.versions] == [31, 32, 33, 34, 35, 36, 37, 38, 39]


def test_an_ended_version_is_dropped_after_a_month() -> None:
    found = readings((DAY, (A, B)), (2 * DAY, (B,)), (40 * DAY, (B,)))
    assert found.versions == (Version(B, DAY),)


def test_a_bgp_address_belongs_to_one_peer_or_to_none() -> None:
    one = replace(A, bgp_addresses=("10.99.0.1",))
    both = replace(B, bgp_addresses=("10.99.0.1",))
    assert readings((10, (one, B))).inside("10.99.0.1") == one
    assert readings((10, (one, both))).inside("10.99.0.1") is None


def test_a_log_without_resource_ids_is_of_the_gateway_of_its_name_or_the_only_one() -> None:
    inventory, _ = load([AZ])
    assert inventory.of("vng-lab") == inventory.of(LAB)
    assert inventory.of("ikelogs").gateway is None  # there are two
    only = renew(Inventory(), [Listing(GATEWAY, (A,))], 0)
    assert only.of("ikelogs") == only.of(KEY)
    assert only.of("/another/gateway").gateway is None


def test_an_inventory_is_kept_byte_for_byte() -> None:
    for folder in ("az", "virtual-wan"):
        inventory, _ = load([INVENTORIES / folder])
        for connections in inventory.gateways.values():
            assert codec.unpack(codec.pack(connections, Connections), Connections) == connections
