"""seed -> stories of two gateways that are each other's peer: one fault, and each end writes its own half of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ikestream.events import Proposal
from ikestream.lab.bench import Lab
from ikestream.lab.ends import Azure, Peer, Side, instances
from ikestream.lab.exchange import Exchange
from ikestream.lab.healthy import Scenario
from ikestream.lab.log import Log, Page
from ikestream.lab.policy import Difference, default_policy, one_of_each
from ikestream.lab.site import UP_FIRST
from ikestream.lab.story import Story, Truth
from ikestream.times import MINUTE, SECOND

ENOUGH = 6 * MINUTE


@dataclass(slots=True)
class Pair:
    """The lab's gateway, which alone begins, and another one that waits for it (ResponderOnly)."""

    lab: Lab
    here: Azure
    there: Azure
    here_address: str
    there_address: str
    far: Log
    now: int

    def begin(self) -> None:
        """Let the tunnel come up and work for a while."""
        self._try()
        self._tell_state(up=True)
        self.now += UP_FIRST

    def change(self, here: Azure) -> None:
        """Write another configuration at the first gateway: it ends what is up, and says so to the other."""
        self.here = here
        self.lab.log.operation(self.now - 5 * SECOND, "SetConnectionConfiguration")
        for page, code in zip(self._pages(), (13849, 13885), strict=True):
            page.write(page.log.wording.closed(page.tunnel, code), after=0)
        self._tell_state(up=False)
        self.now += 5 * SECOND

    def run(self, span: int) -> None:
        """Let the first gateway try again and again."""
        until = self.now + span
        while self.now < until:
            self._try()
            self.now += self.lab.random.randint(20, 50) * SECOND

    def tell(self, name: str, here: Truth, there: Truth) -> Story:
        """Close both books."""
        self.lab.log.records = sorted([*self.lab.log.records, *self.far.records], key=lambda r: r.at or 0)
        return self.lab.tell(name, here, there)

    def call_back(self) -> None:
        """Let the second gateway call once, of which the first one's log has lost every line."""
        Exchange(self.there, _seen(self.here, self.here_address), self._pages()[1]).run(Side.AZURE)
        self.now += MINUTE

    def _try(self) -> None:
        here, there = self._pages()
        Exchange(self.here, _seen(self.there, self.there_address), here).run(Side.AZURE)
        Exchange(self.there, _seen(self.here, self.here_address), there).run(Side.PEER)

    def _pages(self) -> tuple[Page, Page]:
        ends = (
            (self.lab.log, self.there_address, self.here_address),
            (self.far, self.here_address, self.there_address),
        )
        here, there = (
            Page(log, self.now, instances()[0], remote, local, session=log.session()) for log, remote, local in ends
        )
        return here, there

    def _tell_state(self, *, up: bool) -> None:
        for page in self._pages():
            page.log.tunnel(self.now + 500, page.instance, page.remote, up=up)


def _seen(gateway: Azure, address: str) -> Peer:
    """Return the one gateway as the other one sees it: a peer."""
    return Peer(
        address,
        gateway.policy,
        key=gateway.key,
        selectors=gateway.selectors,
        remote_selectors=gateway.remote_selectors,
        narrow=gateway.narrow,
    )


def _pair(lab: Lab) -> Pair:
    gateway = f"{lab.log.gateway_id.rpartition('/')[0].rpartition('/')[0]}/VIRTUALNETWORKGATEWAYS/VNG-{lab.seed}-FAR"
    far = Log(gateway, lab.random, bool(lab.tunnel_log))
    there = Azure(default_policy(gateway), initiates=False)
    pair = Pair(lab, Azure(default_policy(lab.log.gateway_id)), there, lab.address(), lab.address(), far, lab.start)
    pair.begin()
    return pair


def vnet_to_vnet_policies(lab: Lab) -> Story:
    """Two gateways are each other's peer. One got a custom policy with another group, the other has none and waits to be
    called: its offers are in no line, and both ends' verdicts name the group all the same."""
    plain = Proposal(lab.random.choice(("AES256", "AES128")), lab.random.choice(("SHA1", "SHA256")), "DHGroup2")
    group = lab.random.choice(("DHGroup14", "ECP256", "ECP384"))
    custom = one_of_each(replace(plain, group=group), Proposal("AES256", "SHA256", "None"))
    pair = _pair(lab)
    pair.change(Azure(custom))
    pair.run(ENOUGH)
    return pair.tell(
        "vnet_to_vnet_policies",
        Truth(pair.there_address, "IkePolicyMismatch", difference=Difference("DhGroup", (group,), ("DHGroup2",))),
        Truth(pair.here_address, "IkePolicyMismatch", difference=Difference("DhGroup", ("DHGroup2",), (group,))),
    )


def vnet_to_vnet_keys(lab: Lab) -> Story:
    """The same two, with different keys: the end that calls is refused without a reason, the other end's log has it."""
    pair = _pair(lab)
    pair.change(replace(pair.here, key="two"))
    pair.run(ENOUGH)
    return pair.tell(
        "vnet_to_vnet_keys",
        Truth(pair.there_address, "PreSharedKeyMismatch"),
        Truth(pair.here_address, "PreSharedKeyMismatch"),
    )


BETWEEN_GATEWAYS: tuple[Scenario, ...] = (vnet_to_vnet_policies, vnet_to_vnet_keys)
