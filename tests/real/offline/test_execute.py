"""What a program in a container prints arrives, however late we listen; and what we write there."""

import http.client
import time

import pytest

from ops.docker.volumes import LINKS_AT_ONCE, MOUNT, as_tar, opened
from ops.errors import OpsError
from plan.caches.cache import Cache
from plan.images import storage
from tests.checkout import REGISTRY_IMAGE
from tests.real.caches.conftest import PREFIX

NAME = f"{PREFIX}-execute"
CACHE = Cache(host="docker.io", name=NAME, local_endpoint="", image=REGISTRY_IMAGE)
ROOT = f"{MOUNT}/docker-io"
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def volumes(docker_client):
    docker_client.volumes.create(NAME)
    with opened(docker_client, [CACHE]) as found:
        yield found
    docker_client.volumes.get(NAME).remove()


@pytest.fixture
def late(monkeypatch):
    """A busy machine: by the time the answer's header is read, the program could have ended."""
    answer = http.client.HTTPConnection.getresponse

    def later(connection):
        time.sleep(0.3)
        return answer(connection)

    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", later)


def test_nothing_of_a_quick_programs_output_is_lost(volumes, late):
    assert volumes.run("busybox", "seq", "3") == b"1\n2\n3\n"


def test_large_output_and_odd_arguments_arrive_whole(volumes):
    assert len(volumes.run("busybox", "seq", "1000000")) == 6_888_896
    assert volumes.run("sh", "-c", 'printf %s "$1"', "sh", "a 'b' \"$c\"\n") == b"a 'b' \"$c\"\n"


def test_a_program_that_fails_is_told_with_its_words(volumes, late):
    with pytest.raises(OpsError, match=r"failed \(3\): no luck"):
        volumes.run("sh", "-c", "echo no luck >&2; exit 3")


def test_a_file_that_can_not_be_read_is_told_apart_from_the_others(volumes):
    """A folder is what a test can make that `cat` can't read."""
    writing = "busybox mkdir $0/no; printf one >$0/1; printf two >$0/2"
    with opened(volumes.client, [CACHE], writable=True) as changing:
        changing.run("sh", "-c", writing, ROOT)
    one, no, two = (f"{ROOT}/{name}" for name in ("1", "no", "2"))
    assert volumes._contents([one, two]) == (b"onetwo", frozenset())
    assert volumes._contents([one, no, two]) == (b"onetwo", {no})
    assert volumes._contents([no]) == (b"", {no})
    with pytest.raises(OpsError, match="No such file"):
        volumes._contents([one, f"{ROOT}/gone"])


@pytest.fixture
def writable(volumes):
    with opened(volumes.client, [CACHE], writable=True) as changing:
        yield changing


def test_links_arrive_however_many_they_are_and_however_long_their_paths(writable):
    names = [f"{'team/' * 40}app{number}" for number in range(LINKS_AT_ONCE // 2 + 1)]
    links = {path: DIGEST for name in names for path in storage.tag_links(name, "v1", DIGEST)}
    assert len(links) == LINKS_AT_ONCE + 2
    writable.place_links(ROOT, links)
    found = writable.run("sh", "-c", f"cd {ROOT} && find . -type f").decode().split()
    assert sorted(found) == sorted(f"./{path}" for path in links)
    held = writable.run(
        "sh", "-c", f"cd {ROOT} && find . -type f -exec busybox cat {{}} +"
    ).decode()
    assert held == DIGEST * len(links)


def test_what_is_written_is_no_leftover_to_whoever_clears_old_files(writable):
    """As `prune` does."""
    writable.put(ROOT, as_tar([("one", 1, [b"1"])]))
    writable.place_links(ROOT, {"two": DIGEST})
    assert writable.run("sh", "-c", f"cd {ROOT} && find . -type f -mmin +1") == b""
    found = writable.run("sh", "-c", f"cd {ROOT} && find . -type f -mmin -60")
    assert sorted(found.split()) == [b"./one", b"./two"]
