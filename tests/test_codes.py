"""The Windows codes and IKE notifies in every notation a log or a document uses."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikestream import codes
from ikestream.codes import CODES, NOTIFIES, Role


@pytest.mark.parametrize("code", [code for code in CODES.values() if code.message], ids=lambda code: str(code.number))
def test_every_notation_of_every_code(code: codes.Code) -> None:
    number = code.number
    for text in (
        str(number),
        f"0x{number:x}",
        f"0X{number:X}",
        f"0x{number:08x}",
        f"0x8007{number:04x}",
        str((0x80070000 | number) - (1 << 32)),
        f"{number}({code.symbol})" if code.symbol else str(number),
    ):
        assert codes.resolve(text) is code
    assert codes.number(f"0x8007{number:04X}") == number
    if code.symbol:
        assert codes.resolve(code.symbol) is code
    # equal messages: the first code of the set
    first = next(other for other in CODES.values() if other.message == code.message)
    plain = code.message.rstrip(".")
    for text in (
        code.message,
        plain,
        plain.upper(),
        plain.lower(),
        plain.replace(" ", ""),
        plain.title().replace(" ", ""),
        plain.replace(" ", "  "),
        f" {plain} . ",
        f"{plain} (Error code: {number}, Hex: 0X{number:X})",
    ):
        assert codes.resolve(text) is first, text
    assert codes.find(f"It went wrong: {code.message}") is first


def test_equal_messages_mean_the_first_code_and_share_the_role() -> None:
    by_message: dict[str, list[codes.Code]] = {}
    for code in CODES.values():
        by_message.setdefault(code.message, []).append(code)
    shared = {tuple(code.number for code in same) for message, same in by_message.items() if message and len(same) > 1}
    assert shared == {(13809, 13810, 13811, 13812), (13814, 13815)}
    assert all(len({CODES[number].role for number in numbers}) == 1 for numbers in shared)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Policy match error", 13868),
        ("IKE authentication credentials are unacceptable (Error code: 13801, Hex: 0X35E9)", 13801),
        ("Invalid cookie received (13846, Hex: 0X3616)", 13846),
        ("13801(ERROR_IPSEC_IKE_AUTH_FAIL)", 13801),
        ("0x35ED,", 13805),
        ("Don't know how to process critical payload", 13823),
        ("IKE failed to find valid machine certificate.", 13806),  # its first sentence
        ("PSK auth verification failed", 13826),
        ("TheUsernameOrPasswordIsIncorrect", 1326),
        ("The operator or administrator has refused the request.", 4320),
        ("error 13868 and flags a", 13868),
        # not codes
        ("258 bytes", None),
        ("13801 packets", None),
        ("1225 ", 1225),
        ("port 500", None),
        ("a terror 258", None),
        ("error 13868.5", None),
        ("error 999", None),
        ("(258 ms)", None),
        ("Policy", None),
        ("It said Policy match error", None),
        ("ERROR_IPSEC_IKE_NO_SUCH_THING", None),
        ("", None),
        ("0", None),
        ("0x0", None),
        ("-1", None),
        ("\u0661\u0663\u0668\u0660\u0661", None),  # Arabic-Indic digits
    ],
)
def test_resolve(text: str, number: int | None) -> None:
    code = codes.resolve(text)
    assert (code and code.number) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0x35ED", 13805),
        ("0x80073613", 13843),
        ("-2147011053", 13843),
        ("4294967295", 4294967295),
        ("4294967296", None),
        ("0x1FFFFFFFF", None),
        ("13_801", None),
        ("+13801", None),
        (" 13801", None),
        ("35ED", None),
        ("", None),
    ],
)
def test_number(text: str, number: int | None) -> None:
    assert codes.number(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("IKE authentication creden", 13801),
        ("Main mode SA assumed to be inv", 13886),
        ("Negotiation t", None),  # timed out, or took too long
        ("Policy matc", None),  # eleven letters say too little
        ("", None),
    ],
)
def test_complete(text: str, number: int | None) -> None:
    code = codes.complete(text)
    assert (code and code.number) == number


ROLES = {
    Role.FAILS: (
        13801,
        13802,
        13806,
        13817,
        13818,
        13819,
        13820,
        13822,
        13825,
        13826,
        13828,
        13833,
        13834,
        13847,
        13848,
        13850,
        13861,
        13864,
        13865,
        13868,
        13869,
        13870,
        13871,
        13872,
        13873,
        13874,
        13875,
        13880,
        13881,
        13883,
        13887,
        13889,
        13894,
        13999,
        1225,
    ),
    Role.FAILS_ALONE: (13807, 13808, 13849, 13885, 13886),
    Role.BENIGN: (
        13803,
        13821,
        13844,
        13845,
        13877,
        13878,
        13879,
        13884,
        13890,
        13895,
        13902,
        4320,
        *range(13913, 13919),
        *range(13925, 13933),
    ),
    Role.SYMPTOM: (
        258,
        13805,
        13813,
        13814,
        13815,
        13823,
        13824,
        13829,
        13830,
        13831,
        13832,
        *range(13835, 13844),
        13846,
        13910,
        13911,
    ),
    Role.CLIENT: (1244, 1326, 13898, 13899, 13900, 13905, 13906, 13907, 13908),
    Role.PLATFORM: (808, 1168, 13809, 13810, 13811, 13812, 13882, 13891, 13903),
}


def test_roles_are_those_of_the_decision_table() -> None:
    assigned = {role: {code.number for code in CODES.values() if code.role is role} for role in ROLES}
    assert assigned == {role: set(numbers) for role, numbers in ROLES.items()}


@pytest.mark.parametrize("entry", NOTIFIES, ids=lambda entry: entry.name)
def test_every_notation_of_every_notify(entry: codes.Notify) -> None:
    for text in (entry.name, entry.name.lower(), entry.name.replace("_", "-"), entry.name.replace("_", " ").title()):
        assert codes.notify(text) is entry
    found = codes.notify(str(entry.number))
    assert found is not None
    assert found.number == entry.number


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Policy Mismatch", "NO_PROPOSAL_CHOSEN"),
        ("PolicyMismatch", "NO_PROPOSAL_CHOSEN"),
        ("14", "NO_PROPOSAL_CHOSEN"),
        ("Peer sent NO_PROPOSAL_CHOSEN notify", "NO_PROPOSAL_CHOSEN"),
        ("Authentication failed", "AUTHENTICATION_FAILED"),
        ("Traffic Selectors Unacceptable", "TS_UNACCEPTABLE"),
        ("17", "INVALID_KE_PAYLOAD"),  # IKEv1's 17 is INVALID_KEY_INFORMATION: Azure's default is IKEv2
        ("18", "INVALID_ID_INFORMATION"),  # IKEv1 only
        ("INVALID-ID-INFORMATION", "INVALID_ID_INFORMATION"),
        ("12345", "MS_NOTIFY_STATUS"),
        ("5 proposals received", None),
        ("nothing known", None),
        ("", None),
    ],
)
def test_notify(text: str, name: str | None) -> None:
    entry = codes.notify(text)
    assert (entry and entry.name) == name


@given(st.text())
def test_total(text: str) -> None:
    for resolve in (codes.resolve, codes.find, codes.message, codes.complete):
        assert resolve(text) is None or resolve(text) in CODES.values()
    assert codes.notify(text) is None or codes.notify(text) in NOTIFIES
    number = codes.number(text)
    assert number is None or 0 < number <= 0xFFFFFFFF


def test_every_fact_names_a_listed_source() -> None:
    table = json.loads(files("ikestream").joinpath("data/windows_codes.json").read_text(encoding="utf-8"))
    for rows in ("codes", "aliases", "notifies", "notify_aliases"):
        assert {row["source"] for row in table[rows]} <= set(table["sources"])
    assert {row["role"] for row in table["codes"]} == set(table["roles"]) == {role.value for role in Role}
    assert {row["number"] for row in table["aliases"]} <= set(CODES)
