"""A private CA and a server certificate: made once, replaced in time, accepted by real clients."""

import contextlib
import os
import socket
import ssl
import stat
import threading
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from host import paths
from ops.errors import OpsError
from ops.tls import own_ca

NOW = datetime.now(timezone.utc)
NAMES = ("127.0.0.1", "172.17.0.1", "host.docker.internal")
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def locks_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.user_cache().is_relative_to(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "stack" / "tls"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def certificate(folder, name):
    return x509.load_pem_x509_certificate((folder / name).read_bytes())


def handshake(server_pem, server_key, ca_pem, name, tmp_path):
    """Whether a client that trusts the CA, and calls the server by this name, is content."""
    (tmp_path / "cert").write_text(server_pem)
    (tmp_path / "key").write_text(server_key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    client = ssl.create_default_context(cadata=ca_pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def serve():
        # What the client has against the certificate is told by the client.
        with contextlib.suppress(ssl.SSLError, OSError):
            server.wrap_socket(far, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(near, server_hostname=name).close()
    finally:
        near.close()
        thread.join()


class TestEnsure:
    def test_a_real_client_is_content(self, folder, tmp_path):
        made = own_ca.ensure(folder, NAMES, NOW)
        for name in NAMES:
            handshake(made.server_pem, made.server_key, made.ca_pem, name, tmp_path)

    def test_a_real_client_refuses_other_names_and_other_authorities(self, folder, tmp_path):
        made = own_ca.ensure(folder, NAMES, NOW)
        other = own_ca.ensure(tmp_path / "other", NAMES, NOW)
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            handshake(made.server_pem, made.server_key, made.ca_pem, "192.0.2.1", tmp_path)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(made.server_pem, made.server_key, other.ca_pem, NAMES[0], tmp_path)

    def test_a_node_that_trusts_two_stacks_is_content_with_both(self, tmp_path):
        both = [own_ca.ensure(tmp_path / name, NAMES, NOW) for name in ("one", "two")]
        bundle = "".join(made.ca_pem for made in both)
        for made in both:
            handshake(made.server_pem, made.server_key, bundle, NAMES[0], tmp_path)

    def test_a_second_time_changes_nothing(self, folder):
        first = own_ca.ensure(folder, NAMES, NOW)
        before = contents(folder)
        again = own_ca.ensure(folder, (*reversed(NAMES), NAMES[0]), NOW + 100 * DAY)
        assert (again, contents(folder)) == (first, before)

    def test_other_names_make_another_certificate_and_nothing_else(self, folder, tmp_path):
        own_ca.ensure(folder, NAMES, NOW)
        before = contents(folder)
        made = own_ca.ensure(folder, (*NAMES, "caches.example.com"), NOW)
        assert changed(before, contents(folder)) == {"server.pem"}
        handshake(made.server_pem, made.server_key, made.ca_pem, "caches.example.com", tmp_path)

    def test_only_the_owner_can_read_any_of_it(self, folder):
        old = os.umask(0)
        try:
            own_ca.ensure(folder, NAMES, NOW)
        finally:
            os.umask(old)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert modes == dict.fromkeys(("ca.pem", "ca.key", "server.pem", "server.key"), 0o600)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_the_servers_certificate_lives_as_long_as_its_ca(self, folder):
        own_ca.ensure(folder, NAMES, NOW)
        own_ca.ensure(folder, (*NAMES, "caches.example.com"), NOW + 100 * DAY)
        ends = {certificate(folder, n).not_valid_after_utc for n in ("ca.pem", "server.pem")}
        assert ends == {(NOW + 3650 * DAY).replace(microsecond=0)}

    def test_the_key_is_not_in_a_repr(self, folder):
        made = own_ca.ensure(folder, NAMES, NOW)
        assert "PRIVATE KEY" in made.server_key
        assert "PRIVATE KEY" not in repr(made)

    @pytest.mark.parametrize(
        "left", [["ca.key"], ["ca.key", "ca.pem"], ["ca.key", "ca.pem", "server.key"]]
    )
    def test_it_goes_on_where_a_killed_run_left_off(self, folder, left, tmp_path):
        own_ca.ensure(folder, NAMES, NOW)
        before = contents(folder)
        for name in before.keys() - set(left):
            (folder / name).unlink()
        made = own_ca.ensure(folder, NAMES, NOW)
        assert {name: contents(folder)[name] for name in left} == {n: before[n] for n in left}
        handshake(made.server_pem, made.server_key, made.ca_pem, NAMES[0], tmp_path)

    def test_a_disk_that_takes_nothing_is_told(self, folder, monkeypatch):
        own_ca.ensure(folder, NAMES, NOW)
        before = contents(folder)

        def full(*_):
            raise OSError(28, "No space left on device", "/the/file")

        monkeypatch.setattr(own_ca.Path, "replace", full)
        with pytest.raises(OpsError, match="/the/file: No space left on device"):
            own_ca.ensure(folder, ("192.0.2.1",), NOW)
        assert contents(folder) == before, "something is left behind"


class TestDamage:
    @pytest.mark.parametrize("name", ["ca.pem", "ca.key", "server.pem", "server.key"])
    def test_a_damaged_file_is_named_and_not_overwritten(self, folder, name):
        own_ca.ensure(folder, NAMES, NOW)
        (folder / name).write_bytes(b"\xff damaged")
        before = contents(folder)
        with pytest.raises(OpsError, match=rf"{name} is damaged: .*remove it"):
            own_ca.ensure(folder, NAMES, NOW)
        assert contents(folder) == before

    @pytest.mark.parametrize(("key", "pem"), [("ca.key", "ca.pem"), ("server.key", "server.pem")])
    def test_a_key_that_is_gone(self, folder, key, pem):
        own_ca.ensure(folder, NAMES, NOW)
        (folder / key).unlink()
        with pytest.raises(OpsError, match=rf"{key} is missing: .* remove .*{pem} too"):
            own_ca.ensure(folder, NAMES, NOW)

    @pytest.mark.parametrize("name", ["ca.key", "server.key"])
    def test_a_key_of_something_else(self, folder, name, tmp_path):
        own_ca.ensure(folder, NAMES, NOW)
        own_ca.ensure(tmp_path / "other", NAMES, NOW)
        (tmp_path / "other" / name).replace(folder / name)
        with pytest.raises(OpsError, match=rf"does not belong to {name} beside it"):
            own_ca.ensure(folder, NAMES, NOW)

    def test_a_certificate_of_another_ca(self, folder, tmp_path):
        own_ca.ensure(folder, NAMES, NOW)
        own_ca.ensure(tmp_path / "other", NAMES, NOW)
        for name in ("server.pem", "server.key"):
            (tmp_path / "other" / name).replace(folder / name)
        with pytest.raises(OpsError, match=r"server\.pem was not issued by the CA"):
            own_ca.ensure(folder, NAMES, NOW)

    def test_what_others_can_read_is_refused(self, folder):
        own_ca.ensure(folder, NAMES, NOW)
        (folder / "ca.key").chmod(0o644)
        with pytest.raises(
            OpsError, match=r"ca\.key can be read by others \(mode 644\).*chmod 600"
        ):
            own_ca.ensure(folder, NAMES, NOW)

    def test_a_link_is_refused(self, folder, tmp_path):
        own_ca.ensure(folder, NAMES, NOW)
        (folder / "ca.key").rename(tmp_path / "elsewhere")
        (folder / "ca.key").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OpsError, match=r"ca\.key is not a regular file"):
            own_ca.ensure(folder, NAMES, NOW)

    def test_what_belongs_to_somebody_else_is_refused(self, folder, monkeypatch):
        own_ca.ensure(folder, NAMES, NOW)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(OpsError, match="belongs to another user"):
            own_ca.ensure(folder, NAMES, NOW)


class TestExpiry:
    @pytest.mark.parametrize("left", [61, 3000])
    def test_nothing_is_touched_while_enough_days_are_left(self, folder, left):
        made, before = own_ca.ensure(folder, NAMES, NOW), contents(folder)
        assert own_ca.ensure(folder, NAMES, self.when(folder, "ca.pem", left)) == made
        assert contents(folder) == before

    @pytest.mark.parametrize("left", [59, -3])
    def test_the_ca_with_the_same_key_and_name_and_then_the_servers(self, folder, left):
        own_ca.ensure(folder, NAMES, NOW)
        before, old = contents(folder), certificate(folder, "ca.pem")
        when = self.when(folder, "ca.pem", left)
        made, after = own_ca.ensure(folder, NAMES, when), contents(folder)
        assert changed(before, after) == {"ca.pem", "server.pem"}
        new = certificate(folder, "ca.pem")
        assert (new.subject, new.public_key()) == (old.subject, old.public_key())
        for name in ("ca.pem", "server.pem"):
            assert certificate(folder, name).not_valid_after_utc > when + 3649 * DAY
        assert own_ca.ensure(folder, NAMES, when) == made
        assert contents(folder) == after

    @pytest.mark.parametrize("left", [29, -3])
    def test_a_servers_certificate_of_an_earlier_version_alone(self, folder, left):
        of_earlier_version(folder)
        before = contents(folder)
        own_ca.ensure(folder, NAMES, self.when(folder, "server.pem", left))
        assert changed(before, contents(folder)) == {"server.pem"}
        ends = [certificate(folder, n).not_valid_after_utc for n in ("ca.pem", "server.pem")]
        assert ends[0] == ends[1]

    def test_one_of_an_earlier_version_stays_for_as_long_as_it_can(self, folder):
        of_earlier_version(folder)
        before = contents(folder)
        own_ca.ensure(folder, NAMES, self.when(folder, "server.pem", 30))
        assert contents(folder) == before

    def test_nodes_that_have_the_ca_from_before_trust_what_comes_after(self, folder, tmp_path):
        # As it would be in ten years, were it made ten years ago.
        old = own_ca.ensure(folder, NAMES, NOW - 3600 * DAY)
        new = own_ca.ensure(folder, NAMES, NOW)
        assert new.ca_pem != old.ca_pem
        for ca in (old.ca_pem, new.ca_pem):
            handshake(new.server_pem, new.server_key, ca, NAMES[0], tmp_path)

    def test_serial_numbers_differ(self, folder):
        own_ca.ensure(folder, NAMES, NOW)
        first = certificate(folder, "server.pem")
        own_ca.ensure(folder, NAMES, NOW + 3600 * DAY)
        assert first.serial_number != certificate(folder, "server.pem").serial_number

    @staticmethod
    def when(folder, name, days):
        """The moment at which so many whole days are left."""
        return certificate(folder, name).not_valid_after_utc - days * DAY - timedelta(hours=1)


def changed(before, after):
    return {name for name in after if after[name] != before.get(name)}


def of_earlier_version(folder):
    """A folder whose server certificate ends long before its CA: after 365 days."""
    own_ca.ensure(folder, NAMES, NOW)
    ca, key = (folder / name for name in ("ca.pem", "ca.key"))
    made = own_ca._pair(ca, key)
    short = x509.CertificateBuilder(
        made.certificate.issuer,
        certificate(folder, "server.pem").subject,
        certificate(folder, "server.pem").public_key(),
        x509.random_serial_number(),
        NOW - DAY,
        NOW + 365 * DAY,
        list(certificate(folder, "server.pem").extensions),
    ).sign(made.key, hashes.SHA256())
    (folder / "server.pem").write_bytes(short.public_bytes(Encoding.PEM))
