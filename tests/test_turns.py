"""Whose turn it is, and what they are asked to do: read off stories in which it is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikestream.finding import ActionOn, Advisory, Cause, Confidence, FailedStep, Finding
from ikestream.incident import Row
from ikestream.lab import Lab, Scenario
from ikestream.lab.rehearsals import certificate_missing, ends_without_a_reason, stops_after_auth
from ikestream.remedy import cure
from tests.streams import in_order, last
from tests.test_remedy import CONFIGURED, CONNECTION, NAMES


def outage(scenario: Scenario) -> Row:
    return next(
        row for row in last(in_order(scenario(Lab(2, tunnel_log=True)).records)).values() if row["Kind"] == "Outage"
    )


def test_a_certificate_that_azure_does_not_find_is_azures_to_install() -> None:
    row = outage(certificate_missing)
    assert (row["ErrorCode"], row["ActionOn"]) == (13806, "Azure")
    assert "failed to find valid machine certificate." in row["Explanation"]
    assert "Network Security Administrator" not in row["Explanation"]  # there is none for a gateway


def test_who_should_speak_next_is_named_and_not_only_its_role() -> None:
    assert (
        "Azure initiated; IKE_AUTH was requested; next to speak: the peer." in outage(stops_after_auth)["Explanation"]
    )


def test_nobody_is_sent_to_look_for_attempts_that_were_not_made() -> None:
    row = outage(ends_without_a_reason)
    assert row["Attempts"] == 0
    assert "attempts given here" not in row["Fix"]


@pytest.mark.parametrize(("confidence", "asked"), [(Confidence.LOW, True), (Confidence.MEDIUM, False)])
def test_the_key_is_asked_for_only_where_it_may_be_ikev1(confidence: Confidence, asked: bool) -> None:
    remedy = cure(Finding(Cause.MALFORMED_IKE, confidence, "", ActionOn.PEER, FailedStep.SA_INIT), NAMES)
    assert ("pre-shared key" in remedy.fix) is asked
    assert any("shared-key show" in c.command for c in remedy.commands) is asked


def test_a_timeout_is_changed_only_if_the_check_shows_a_short_one() -> None:
    flapping = Finding(Advisory.FLAPPING, Confidence.HIGH, "", ActionOn.PATH)
    (change,) = (c for c in cure(flapping, NAMES).commands if "dpdTimeoutSeconds=" in c.command)
    assert "less than 30" in change.assumed
    long = replace(CONFIGURED, configured=replace(CONNECTION, dpd=45))
    assert not [c for c in cure(flapping, long).commands if "dpdTimeoutSeconds=" in c.command]


def test_what_is_weak_may_be_the_default_so_the_first_policy_can_be_added_and_taken_away() -> None:
    weak = Finding(Advisory.WEAK_CRYPTOGRAPHY, Confidence.HIGH, "", ActionOn.BOTH)
    changes = [c for c in cure(weak, NAMES).commands if "policy" in c.effect.lower() and "None" not in c.effect]
    assert {c.tool for c in changes} == {"az", "PowerShell"}
    assert all("ipsec-policy clear" in c.undo for c in changes)
