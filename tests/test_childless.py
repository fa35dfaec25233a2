"""IKE is up, no IPsec SA (facts 3.3): TunnelConnected stands and the only child is refused again and again."""

from __future__ import annotations

from random import Random

import pytest

from ikestream.events import Proposal
from ikestream.incident import Row
from ikestream.lab import Lab, post
from ikestream.lab.ends import Side
from ikestream.lab.exchange import Exchange
from ikestream.lab.policy import one_of_each
from ikestream.lab.site import Site
from ikestream.times import HOUR, MINUTE, SECOND
from tests.streams import as_delivered, in_order, last, told


def standing(seed: int) -> tuple[Lab, Site]:
    """A tunnel that is up and whose peer now wants PFS, which Azure does not offer."""
    lab = Lab(seed, tunnel_log=True)
    site = lab.site(active_active=False)
    site.run(10 * MINUTE)
    site.set(peer={"policy": one_of_each(site.peer.policy.ike[0], Proposal("AES256", "SHA256", "ECP384"))})
    site.lives[0].child_at = site.lives[0].ike_at = 1 << 60
    return lab, site


def refuse(site: Site, times: int) -> None:
    for _ in range(times):
        Exchange(site.azure, site.peer, site.page(site.lives[0], site.now)).rekey(Side.AZURE)
        site.run(50 * SECOND)


def expire(site: Site) -> None:
    page = site.page(site.lives[0], site.now, site.lives[0].session)
    page.write(site.log.wording.closed(page.tunnel, 13895), after=0)
    site.run(5 * SECOND)


def judged(lab: Lab) -> list[Row]:
    return [row for row in last(in_order(lab.log.records)).values() if row["Kind"] == "Outage"]


@pytest.mark.parametrize("seed", range(3))
def test_a_child_that_ended_and_is_refused_is_an_outage(seed: int) -> None:
    lab, site = standing(seed)
    expire(site)
    refuse(site, 5)
    (row,) = judged(lab)

    assert "IKE is up, no IPsec SA" in row["Explanation"]
    assert (row["Severity"], row["Impact"], row["FailedStep"]) == ("Critical", "Down", "ChildSa")
    assert row["Confidence"] in ("Medium", "Low")
    random = Random(seed)
    assert told(as_delivered(post(lab.log.records, random), random)) == told(in_order(lab.log.records))


def test_a_child_whose_lifetime_is_over_and_is_refused_is_an_outage() -> None:
    lab, site = standing(1)
    site.run(8 * HOUR)
    refuse(site, 5)
    (row,) = judged(lab)
    assert "IKE is up, no IPsec SA" in row["Explanation"]


def test_another_child_refused_while_the_last_one_lives_is_none() -> None:
    lab, site = standing(1)
    refuse(site, 8)
    assert judged(lab) == []


def test_a_child_refused_once_or_for_less_than_two_minutes_is_none() -> None:
    lab, site = standing(1)
    expire(site)
    refuse(site, 2)
    assert judged(lab) == []
