"""A fake Harbor on loopback, a real registry behind it, and plans for both."""

import io
import json
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace

import httpx
import pytest

from ops.harbor import command as work
from ops.harbor import images, stored_images
from ops.harbor.client import Client
from ops.harbor.images import Access
from ops.harbor.pull import source
from plan.harbor.desired import HarborPlan, HarborProject
from plan.harbor.transport import environment, secret_input
from plan.settings.harbor import HarborSettings
from tests.fakes.harbor.api import Harbor
from tests.fakes.harbor.proxy import ACCEPT
from tests.fakes.harbor.server import Server
from tests.real_registry import running

ADMIN = ("admin", "Harbor12345")
DOCKER, QUAY = "https://hub.docker.com", "https://quay.io"
PROJECT, APP = "proxy-quay.io", "team/app"
# The platforms of an index have 20 s, also on a busy machine; its tag is there in one or two.
PACE = 0.05
ROBOT_SECRET = "Robot5ecret"


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """A real registry on loopback."""
    with running(tmp_path_factory.mktemp("registry")) as there:
        yield there


SHARED, LARGE = b"shared" * 1000, b"large" * 500_000


@pytest.fixture(scope="session")
def index(registry):
    """The upstream's images; the digest of one's index."""
    registry.image("team/app", "v2", SHARED, b"v2")
    registry.image("team/other", "v1", SHARED)
    registry.image("team/single", "v1", b"one", platforms=("amd64",))
    registry.image("library/busybox", "v1", b"busybox")
    return registry.image("team/app", "v1", SHARED, LARGE)


@pytest.fixture
def double(tmp_path, registry):
    """The double, running."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    upstreams = {DOCKER: registry.url, QUAY: registry.url}
    server = Server(Harbor(blobs, upstreams, {"dev": "Developer1"}, PACE)).start()
    yield server
    server.stop()


@pytest.fixture
def known(double):
    """What the double knows."""
    return double.harbor


@pytest.fixture
def plan(double):
    """Two private proxy caches with a robot."""
    projects = (("docker.io", "docker-hub", DOCKER), ("quay.io", "docker-registry", QUAY))
    return HarborPlan(
        stack="mine",
        owner="0123456789ab",
        url=double.url,
        ca_pem="",
        projects=tuple(
            HarborProject(
                host=host,
                name=f"proxy-{host}",
                registry_name=f"proxy-{host}",
                registry_type=kind,
                remote_url=url,
            )
            for host, kind, url in projects
        ),
        public=False,
        retention_days=30,
        quota_bytes=5_000_000_000,
        robot="robot$talos-mine",
        robot_secret=ROBOT_SECRET,
        username="admin",
        password="Harbor12345",
        keep_data=False,
    )


@pytest.fixture
def client(plan):
    """Harbor, asked as its administrator."""
    with Client(plan.url, plan.username, plan.password) as harbor:
        yield harbor


@pytest.fixture
def made(index, plan, client, double):
    """Projects there are; what the double counts starts at zero."""
    work.bring_about(client, plan, {})
    double.upstream_bytes = double.sent_bytes = 0
    return double


@pytest.fixture
def robot(made, plan):
    """A proxy cache as the robot pulls from it."""
    return source(plan.url, PROJECT, plan.robot, ROBOT_SECRET)


def access_of(plan, username="admin", password="Harbor12345"):
    settings = HarborSettings(
        url=plan.url,
        ca_file="",
        project_prefix="proxy-",
        public=False,
        retention_days=None,
        quota_bytes=None,
        robot="",
        admin=None,
        login=None,
    )
    return Access(harbor=settings, ca_pem=plan.ca_pem, username=username, password=password)


@pytest.fixture
def access(plan, made, monkeypatch):
    """Harbor as `warm` asks it, looked at often, and waited for longer than it needs."""
    monkeypatch.setattr(stored_images, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(stored_images, "TAG_SECONDS", 500 * PACE)
    monkeypatch.setattr(images, "SETTLE_SECONDS", 5000 * PACE)
    return access_of(plan)


class Asked:
    """The double, asked as containerd or skopeo do; `wait` ends when nothing is under way any more,
    so that what is not there then never comes.
    """

    def __init__(self, double):
        self.double = double
        self.known = double.harbor

    def ask(self, method, path, repository=APP, **headers):
        url = f"{self.double.url}/v2/{PROJECT}/{repository}/{path}"
        return httpx.request(method, url, auth=ADMIN, headers={**ACCEPT, **headers})

    def image(self, digest, repository=APP):
        """Pull one platform."""
        manifest = self.ask("GET", f"manifests/{digest}", repository).json()
        for part in (manifest["config"], *manifest["layers"]):
            assert self.ask("GET", f"blobs/{part['digest']}", repository).status_code == 200

    def index(self, reference, platforms=2, repository=APP):
        """Pull an index with so many of its platforms."""
        index = self.ask("GET", f"manifests/{reference}", repository).json()
        for entry in index["manifests"][:platforms]:
            self.image(entry["digest"], repository)
        return index

    def tagged(self, tag, platforms=2, repository=APP):
        """The same as containerd does: the digest of a tag first."""
        answer = self.ask("HEAD", f"manifests/{tag}", repository)
        return self.index(answer.headers["Docker-Content-Digest"], platforms, repository)

    def wait(self):
        self.known.background.wait()

    def until_listed(self, reference, repository=APP):
        deadline = time.monotonic() + 60
        while self.artifact(reference, repository) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def one_platform(self, tag):
        """Pull an index with its first platform, and let the time be over for the others."""
        index = self.tagged(tag, 1)
        self.until_listed(index["manifests"][0]["digest"])
        self.known.background.pace = 0.005
        self.wait()
        self.known.background.pace = PACE

    def artifact(self, reference, repository=APP):
        """What the API lists; None for nothing."""
        name = repository.replace("/", "%252F")
        path = f"projects/{PROJECT}/repositories/{name}/artifacts/{reference}"
        answer = httpx.get(f"{self.double.url}/api/v2.0/{path}", auth=ADMIN)
        return answer.json() if answer.status_code == 200 else None


@pytest.fixture
def asked(made):
    return Asked(made)


@dataclass
class Done:
    """What a run of `python -m ops.harbor` came to."""

    returncode: int
    stdout: str
    stderr: str


class Run:
    """`python -m ops.harbor` with a plan, in this process; each run is told what the last printed.

    Attributes:
        previous: what the last one that went well has printed.
        everything: that all runs have printed, or have had in their environment.
    """

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch
        self.previous = ""
        self.everything = ""

    def __call__(self, command, plan, **changes):
        chosen = replace(plan, **changes)
        variables = {**environment(chosen), work.PREVIOUS_VARIABLE: self.previous}
        printed, told = io.StringIO(), io.StringIO()
        with self.monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO(secret_input(chosen)))
            with redirect_stdout(printed), redirect_stderr(told):
                status = work.main(command)
        done = Done(status, printed.getvalue(), told.getvalue())
        self.everything += f"{done.stdout}{done.stderr}{json.dumps(variables)}"
        if done.returncode == 0:
            self.previous = done.stdout.strip()
        return done

    def well(self, command, plan, **changes):
        """One that must go well."""
        done = self(command, plan, **changes)
        assert done.returncode == 0, done.stderr
        return done

    def failing(self, command, plan, **changes):
        """What one that must fail tells."""
        done = self(command, plan, **changes)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr


@pytest.fixture
def run(monkeypatch):
    return Run(monkeypatch)


@pytest.fixture
def created(run, plan):
    """The plan, brought about."""
    run.well("create", plan)
    return plan
