"""The root certificates that the functions trust are Amazon's, and are up to date."""

import base64
import hashlib
import re
import shutil
import ssl
import subprocess
import time
from typing import Any

import certifi
import pytest

from dynamirror.cache.tls import AMAZON_ROOTS, tls_context

# The SHA-256 of each root's public key, as https://www.amazontrust.com/repository/ publishes it.
PUBLISHED = {
    "Amazon Root CA 1": "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2",
    "Amazon Root CA 2": "7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461",
    "Amazon Root CA 3": "36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9",
    "Amazon Root CA 4": "f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5",
    "Starfield Services Root Certificate Authority - G2": (
        "2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92"
    ),
}
YEAR = 365 * 86_400
FIX = (
    f"compare with https://www.amazontrust.com/repository/, update {AMAZON_ROOTS.name} and the "
    "hashes in this test"
)


def trusted(context: ssl.SSLContext) -> dict[bytes, dict[str, Any]]:
    """Return the authorities that a context has loaded, by certificate."""
    pairs = zip(context.get_ca_certs(binary_form=True), context.get_ca_certs(), strict=True)
    return {data: {**fields} for data, fields in pairs}


def amazon_s(authorities: dict[bytes, dict[str, Any]]) -> dict[str, bytes]:
    """Return Amazon's certificates among authorities, by their common name."""
    found = {}
    for data, fields in authorities.items():
        subject = {key: value for pairs in fields["subject"] for key, value in pairs}
        name = subject.get("commonName", "")
        if subject.get("organizationName") == "Amazon" or name in PUBLISHED:
            found[name] = data
    return found


@pytest.fixture
def roots() -> dict[bytes, dict[str, Any]]:
    """Return the authorities of the functions."""
    return trusted(tls_context("amazon", None))


def public_key_hash(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate's public key."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    pem = subprocess.run(
        [openssl, "x509", "-inform", "DER", "-noout", "-pubkey"],
        input=certificate,
        capture_output=True,
        check=True,
    ).stdout
    (key,) = re.findall(rb"^-----BEGIN PUBLIC KEY-----\n(.*)\n-----END", pem, re.DOTALL)
    return hashlib.sha256(base64.b64decode(key)).hexdigest()


def test_amazon_s_five_published_roots_are_trusted_and_no_other(
    roots: dict[bytes, dict[str, Any]],
) -> None:
    hashes = {name: public_key_hash(data) for name, data in amazon_s(roots).items()}
    assert hashes == PUBLISHED
    assert len(roots) == len(PUBLISHED)
    assert AMAZON_ROOTS.read_text(encoding="ascii").count("BEGIN CERTIFICATE") == len(PUBLISHED)


def test_each_root_is_valid_for_another_year(roots: dict[bytes, dict[str, Any]]) -> None:
    for fields in roots.values():
        end = ssl.cert_time_to_seconds(fields["notAfter"])
        assert end > time.time() + YEAR, f"{fields['subject']} expires {fields['notAfter']}; {FIX}"
        assert ssl.cert_time_to_seconds(fields["notBefore"]) < time.time()


def test_the_roots_are_those_of_mozilla_s_bundle(roots: dict[bytes, dict[str, Any]]) -> None:
    bundle = amazon_s(trusted(ssl.create_default_context(cafile=certifi.where())))
    ours = amazon_s(roots)
    changed = {name for name in {*ours, *bundle} if ours.get(name) != bundle.get(name)}
    assert not changed, f"{sorted(changed)} differ from certifi {certifi.__version__}; {FIX}"


def test_the_system_knows_no_newer_root_of_amazon(roots: dict[bytes, dict[str, Any]]) -> None:
    system = amazon_s(trusted(ssl.create_default_context()))
    newer = system.keys() - amazon_s(roots).keys()
    assert not newer, f"the system's store has {sorted(newer)}, too; {FIX}"


@pytest.mark.parametrize("authorities", ["system", "amazon"])
def test_certificate_and_host_name_are_always_checked(authorities: Any) -> None:
    context = tls_context(authorities, None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
