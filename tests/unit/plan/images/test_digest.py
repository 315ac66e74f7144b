"""Digests; what registries and archives do with them is shown where those are."""

from plan.images.digest import Hashed, digest_of, digest_of_hex, hex_of, is_digest

# echo -n hello | sha256sum
HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_the_digest_of_pieces_is_that_of_the_whole():
    hashed = Hashed(iter([b"he", b"", b"llo"]))
    assert list(hashed) == [b"he", b"", b"llo"]
    assert hashed.digest == digest_of(b"hello") == HELLO


def test_digits_alone():
    assert digest_of_hex(hex_of(HELLO)) == HELLO


def test_what_is_a_digest():
    assert is_digest(HELLO)
    assert not any(map(is_digest, (hex_of(HELLO), HELLO.upper(), f"{HELLO}\n", HELLO[:-1])))
