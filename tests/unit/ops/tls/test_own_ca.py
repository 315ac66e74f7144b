"""A private CA and a server certificate: made once, renewed in time, of use to a real client."""

import contextlib
import os
import socket
import ssl
import stat
import threading
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
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
        after = contents(folder)
        assert {name for name in after if after[name] != before.get(name)} == {"server.pem"}
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

    def test_how_long_they_are_good_for(self, folder):
        made = own_ca.ensure(folder, NAMES, NOW)
        assert own_ca.days_left(made.ca_pem, NOW) in (3649, 3650)
        assert own_ca.days_left(made.server_pem, NOW) in (364, 365)

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
        with pytest.raises(OpsError, match=r"server\.pem is not from the CA beside it: remove it"):
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
        with pytest.raises(OpsError, match=r"ca\.key is no regular file"):
            own_ca.ensure(folder, NAMES, NOW)

    def test_what_belongs_to_somebody_else_is_refused(self, folder, monkeypatch):
        own_ca.ensure(folder, NAMES, NOW)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(OpsError, match="belongs to another user"):
            own_ca.ensure(folder, NAMES, NOW)


class TestRenewed:
    def test_nothing_where_nothing_was_made(self, folder):
        assert own_ca.renewed(folder, NAMES, NOW) == []
        assert not folder.exists()

    def test_not_while_more_than_thirty_days_are_left(self, folder):
        made = own_ca.ensure(folder, NAMES, NOW)
        before = contents(folder)
        assert own_ca.renewed(folder, NAMES, self.when(made.server_pem, 31)) == []
        assert contents(folder) == before

    @pytest.mark.parametrize("days", [29, -3])
    def test_the_servers_certificate_and_nothing_else(self, folder, days):
        made = own_ca.ensure(folder, NAMES, NOW)
        before = contents(folder)
        when = self.when(made.server_pem, days)
        (said,) = own_ca.renewed(folder, NAMES, when)
        words = "had 29 days left" if days > 0 else "ran out 3 days ago"
        assert said == f"the caches' certificate is renewed: it {words}"
        after = contents(folder)
        assert {name for name in after if after[name] != before[name]} == {"server.pem"}
        assert own_ca.days_left(after["server.pem"].decode(), when) >= 364
        assert own_ca.renewed(folder, NAMES, when) == []

    def test_the_ca_not_while_more_than_sixty_days_are_left(self, folder):
        made = own_ca.ensure(folder, NAMES, NOW)
        when = self.when(made.ca_pem, 61)
        before = contents(folder)["ca.pem"]
        assert len(own_ca.renewed(folder, NAMES, when)) == 1, "the server's, by then"
        assert contents(folder)["ca.pem"] == before

    def test_the_ca_and_then_the_servers_certificate(self, folder):
        made = own_ca.ensure(folder, NAMES, NOW)
        when = self.when(made.ca_pem, 59)
        said = own_ca.renewed(folder, NAMES, when)
        assert said[0] == "the caches' CA is renewed: it had 59 days left"
        assert len(said) == 2
        assert own_ca.days_left((folder / "ca.pem").read_text(), when) >= 3649
        assert own_ca.renewed(folder, NAMES, when) == []

    def test_nodes_that_have_the_ca_from_before_trust_what_comes_after(self, folder, tmp_path):
        # As it would be in ten years, were it made ten years ago.
        old = own_ca.ensure(folder, NAMES, NOW - 3600 * DAY)
        assert len(own_ca.renewed(folder, NAMES, NOW)) == 2
        new = own_ca.ensure(folder, NAMES, NOW)
        assert new.ca_pem != old.ca_pem
        for ca in (old.ca_pem, new.ca_pem):
            handshake(new.server_pem, new.server_key, ca, NAMES[0], tmp_path)

    @staticmethod
    def when(pem, days):
        """The moment at which so many whole days are left."""
        end = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
        return end - days * DAY - timedelta(hours=1)


def test_days_left_of_what_is_no_certificate():
    with pytest.raises(ValueError, match="PEM"):
        own_ca.days_left("nothing", NOW)


def test_serial_numbers_differ(folder):
    own_ca.ensure(folder, NAMES, NOW)
    first = certificate(folder, "server.pem")
    own_ca.renewed(folder, NAMES, NOW + 340 * DAY)
    second = certificate(folder, "server.pem")
    assert first.public_bytes(Encoding.PEM) != second.public_bytes(Encoding.PEM)
    assert first.serial_number != second.serial_number
