"""Which Docker the commands and the plugins use, and when they differ."""

import pytest
import trustme

from host import docker_endpoint
from ops.docker import api, which
from ops.docker.api import DockerUnavailableError
from ops.errors import OpsError
from tests.fakes.dockerd import tls_server
from toolchain.fallback_plugins.docker.host import DockerHost
from toolchain.fallback_plugins.protocol.server import PluginError


@pytest.fixture
def with_tls(tmp_path, monkeypatch):
    """DOCKER_HOST and its companions for a double; the environment has the CA of another."""
    for name in ("DOCKER_CONTEXT", "DOCKER_TLS"):
        monkeypatch.delenv(name, raising=False)
    bundle = tmp_path / "bundle.pem"
    trustme.CA().cert_pem.write_to_path(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with tls_server(tmp_path) as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        yield tmp_path


def test_dockers_own_ca_counts_and_no_bundle_of_the_environment(with_tls):
    assert api.connect().version()["Version"] == "27.1.0"
    assert DockerHost().connect().version()["Version"] == "27.1.0"
    trustme.CA().cert_pem.write_to_path(with_tls / "ca.pem")
    with pytest.raises(DockerUnavailableError, match=r"\(from DOCKER_HOST\): .*CERTIFICATE_VERIFY"):
        api.connect()
    with pytest.raises(PluginError, match="can't be reached at tcp://127"):
        DockerHost().connect()


def test_what_can_not_be_used_is_reported_by_both(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "ssh://build.lan")
    with pytest.raises(DockerUnavailableError, match="over ssh"):
        api.connect()
    with pytest.raises(PluginError, match="over ssh"):
        DockerHost().connect()


@pytest.fixture
def colima(tmp_path, monkeypatch):
    """An active context, and no DOCKER_HOST."""
    for name in (*docker_endpoint.VARIABLES, "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"currentContext": "colima"}')
    digest = "f24fd3749c1368328e2b149bec149cb6795619f244c5b584e844961215dadd16"
    meta = tmp_path / "contexts" / "meta" / digest / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text('{"Name": "colima", "Endpoints": {"docker": {"Host": "unix:///colima.sock"}}}')


def test_a_context_that_the_provider_does_not_know(colima, monkeypatch):
    with pytest.raises(OpsError) as caught:
        which.check("mine", {})
    assert "unix:///colima.sock (from the docker context 'colima' in " in str(caught.value)
    assert "would use unix:///var/run/docker.sock" in str(caught.value)
    assert str(caught.value).endswith('eval "$(make -s setup STACK=mine)"')
    monkeypatch.setenv("DOCKER_HOST", "unix:///colima.sock")
    which.check("mine", {"docker:registryAuth": "[]", "talos-cache:prefix": "x"})


@pytest.mark.parametrize("key", which.LEADING)
def test_a_setting_that_only_the_provider_would_use(key):
    with pytest.raises(
        OpsError, match=f"^docker:{key}: only Pulumi's Docker provider.*--stack mine"
    ):
        which.check("mine", {f"docker:{key}": "secret"})
