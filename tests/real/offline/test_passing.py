"""Containers for one look, on real Docker: whatever ends the look, none is left."""

import signal
import threading
import time
from contextlib import ExitStack

import pytest
from docker.errors import APIError, ImageNotFound

from ops.docker import api, temporary_container
from plan.settings.keys import DEFAULTS
from tests.real.caches.conftest import PREFIX

IMAGE = str(DEFAULTS["cache.image"])
WORK = {"entrypoint": ["busybox", "true"]}
SECONDS = 0.5


@pytest.fixture(autouse=True)
def own_label(monkeypatch):
    """Tests beside these have such containers too."""
    monkeypatch.setattr(temporary_container, "LABEL", f"{PREFIX}-passing")


def left(client):
    rows = client.api.containers(all=True, filters={"label": temporary_container.LABEL})
    return [row["Id"] for row in rows]


def test_it_is_there_for_the_block_only(docker_client):
    with temporary_container.container(docker_client, IMAGE, **WORK) as made:
        assert left(docker_client) == [made]
        docker_client.api.start(made)
    assert left(docker_client) == []
    with (
        pytest.raises(ValueError, match="of the block"),
        temporary_container.container(docker_client, IMAGE, **WORK),
    ):
        raise ValueError("of the block")
    assert left(docker_client) == []


def test_an_interruption_before_docker_answers_leaves_none(docker_client, monkeypatch):
    create = docker_client.api.create_container

    def slow(*args, **kwargs):
        made = create(*args, **kwargs)
        time.sleep(SECONDS * 2)
        return made

    monkeypatch.setattr(docker_client.api, "create_container", slow)
    # Whoever runs the tests in the background has SIGINT ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident
    timer = threading.Timer(SECONDS, signal.pthread_kill, (main, signal.SIGINT))
    try:
        timer.start()
        with (
            pytest.raises(KeyboardInterrupt),
            temporary_container.container(docker_client, IMAGE, **WORK),
        ):
            pytest.fail("it was interrupted before")
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)
    assert left(docker_client) == []


def test_the_next_one_removes_what_a_killed_process_left(docker_client, monkeypatch):
    with temporary_container.container(docker_client, IMAGE, **WORK) as first:
        with temporary_container.container(docker_client, IMAGE, **WORK):
            assert first in left(docker_client), "it may be about to start"
        monkeypatch.setattr(temporary_container, "ABANDONED_SECONDS", -1)
        with temporary_container.container(docker_client, IMAGE, **WORK) as second:
            assert left(docker_client) == [second]


def test_volumes_that_are_about_to_go_are_freed_at_once(docker_client):
    """Of what was left there and does not run; what is on other volumes may be about to start."""
    names = [f"{PREFIX}-passing-{number}" for number in range(3)]
    with ExitStack() as stack:
        made = []
        for name in names:
            stack.callback(docker_client.volumes.create(name).remove)
            config = docker_client.api.create_host_config(binds=[f"{name}:/volume"])
            options = {"entrypoint": ["cat"], "stdin_open": True, "host_config": config}
            made += [
                stack.enter_context(temporary_container.container(docker_client, IMAGE, **options))
            ]
        docker_client.api.start(made[1])
        temporary_container.remove_from(docker_client, names[:2])
        assert sorted(left(docker_client)) == sorted(made[1:])
        temporary_container.remove_from(docker_client, [names[0]])  # gone already is fine


def test_a_sweep_frees_the_volumes_that_it_removes(docker_client):
    """Or a run of tests that was killed would leave a sweep that fails, and no next run."""
    name = f"{PREFIX}-passing-swept"
    config = docker_client.api.create_host_config(binds=[f"{name}:/volume"])
    docker_client.api.create_container(IMAGE, host_config=config)
    api.remove_named(docker_client, name)
    assert docker_client.api.volumes(filters={"name": name})["Volumes"] in (None, [])


def test_what_docker_does_not_remove_at_once_is_tried_again(docker_client, monkeypatch):
    refusals = [APIError("500: did not receive an exit event")] * 2
    remove = docker_client.api.remove_container

    def refusing(*args, **kwargs):
        if refusals:
            raise refusals.pop()
        remove(*args, **kwargs)

    monkeypatch.setattr(docker_client.api, "remove_container", refusing)
    with temporary_container.container(docker_client, IMAGE, **WORK):
        pass
    assert left(docker_client) == []


def test_no_image_is_an_error_and_leaves_nothing(docker_client):
    with (
        pytest.raises(ImageNotFound),
        temporary_container.container(docker_client, f"{PREFIX}/nothing-like-it:1", **WORK),
    ):
        pytest.fail("there is no such image")
    assert left(docker_client) == []
