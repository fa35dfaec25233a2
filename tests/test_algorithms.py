"""Logged algorithm names and the names of Azure's custom policy."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikestream import algorithms

ENCRYPTION = {
    "AES-CBC-256": "AES256",
    "AES-CBC-192": "AES192",
    "aes-cbc-128": "AES128",
    "AES-GCM-256": "GCMAES256",
    "AES-GCM-192": "GCMAES192",
    "GCMAES128": "GCMAES128",
    "3DES": "DES3",
    "DES": "DES",
    "NULL": "None",
    "CHACHA20-POLY1305": "CHACHA20-POLY1305",
    "AES-GCM-8-256": "AES-GCM-8-256",  # an 8-octet ICV is another transform than Azure's
    "Kuznyechik": "Kuznyechik",
    "": "",
}
INTEGRITY = {
    "SHA1": "SHA1",
    "SHA-1": "SHA1",
    "HMAC-SHA1": "SHA1",
    "SHA256": "SHA256",
    "SHA2-256": "SHA256",
    "SHA384": "SHA384",
    "Md5": "MD5",
    "AES-GCM-256": "GCMAES256",
    "SHA512": "SHA512",
    "NULL": "None",
    "": "",
}
DH = {
    "DhGroup1": "DHGroup1",
    "DhGroup2": "DHGroup2",
    "DhGroup14": "DHGroup14",
    "DHGroup2048": "DHGroup14",
    "14": "DHGroup14",
    "2048": "DHGroup14",
    "19": "ECP256",
    "DhGroup20": "ECP384",
    "ECP384": "ECP384",
    "ecp256": "ECP256",
    "24": "DHGroup24",
    "None": "None",
    "DhGroup5": "DhGroup5",
    "DhGroup21": "DhGroup21",
    "": "",
}
PFS = {
    "PFS1": "PFS1",
    "PFS2": "PFS2",
    "PFS14": "PFS2048",
    "PFS2048": "PFS2048",
    "DhGroup14": "PFS2048",
    "14": "PFS2048",
    "PFS24": "PFS24",
    "24": "PFS24",
    "19": "ECP256",
    "ECP384": "ECP384",
    "None": "None",
    "NULL": "None",
    "PFSMM": "PFSMM",
    "DhGroup5": "DhGroup5",
    "": "",
}


@pytest.mark.parametrize(("logged", "name"), ENCRYPTION.items())
def test_encryption(logged: str, name: str) -> None:
    assert algorithms.encryption(logged) == name


@pytest.mark.parametrize(("logged", "name"), INTEGRITY.items())
def test_integrity(logged: str, name: str) -> None:
    assert algorithms.integrity(logged) == name


@pytest.mark.parametrize(("logged", "name"), DH.items())
def test_dh_group(logged: str, name: str) -> None:
    assert algorithms.dh_group(logged) == name


@pytest.mark.parametrize(("logged", "name"), PFS.items())
def test_pfs_group(logged: str, name: str) -> None:
    assert algorithms.pfs_group(logged) == name


# facts/01, custom policy values of VPN Gateway and Virtual WAN
CUSTOM_POLICY = {
    algorithms.encryption: "GCMAES256 GCMAES192 GCMAES128 AES256 AES192 AES128 DES3 DES None",
    algorithms.integrity: "GCMAES256 GCMAES192 GCMAES128 SHA384 SHA256 SHA1 MD5",
    algorithms.dh_group: "DHGroup24 ECP384 ECP256 DHGroup14 DHGroup2 DHGroup1 None",
    algorithms.pfs_group: "PFS24 ECP384 ECP256 PFS2048 PFS2 PFS1 PFSMM None",
}


def test_a_name_of_azures_policy_stays_itself() -> None:
    for translate, names in CUSTOM_POLICY.items():
        for name in names.split():
            assert translate(name) == translate(name.lower()) == translate(name.upper()) == name


@given(st.text())
def test_translation_is_total_and_final(text: str) -> None:
    """Translating twice changes nothing, and a name is never longer than a name may be."""
    for translate in CUSTOM_POLICY:
        once = translate(text)
        assert translate(once) == once
        assert len(once) <= algorithms.MAX_NAME
    algorithms.is_fragment(text)


@pytest.mark.parametrize(
    "text", ["", "AES-CB", "AES-CBC-", "AES-CBC-25", "DhGroup", "DhGr", "3DE", "SHA", "SHA2", "Md", "PFS"]
)
def test_fragments(text: str) -> None:
    assert algorithms.is_fragment(text)


@pytest.mark.parametrize(
    "text", ["AES-CBC-256", "3DES", "DES", "SHA1", "Md5", "DhGroup1", "DhGroup14", "NULL", "SHA512", "KUZNYECHIK"]
)
def test_whole_names(text: str) -> None:
    assert not algorithms.is_fragment(text)


def test_combined_mode() -> None:
    assert algorithms.is_combined_mode("GCMAES256")
    assert not algorithms.is_combined_mode("AES256")


def test_every_fact_names_a_listed_source_and_every_spelling_one_meaning() -> None:
    table = json.loads(files("ikestream").joinpath("data/algorithms.json").read_text(encoding="utf-8"))
    for rows in ("encryption", "integrity", "groups"):
        assert {row["source"] for row in table[rows]} <= set(table["sources"])
        spellings = [spelling for row in table[rows] for spelling in row["spellings"]]
        assert len(spellings) == len(set(spellings))
