"""`make demo`, the main job, as a new user runs it."""

from ops import docker_api

PREFIX = "talos-cache-demo"


def there(checkout):
    """Everything in Docker that carries the demo's name."""
    containers = {container.name for container in docker_api.containers(checkout.client)}
    return {name for name in containers | checkout.volumes("") if name.startswith(PREFIX)}


def test_the_demo_proves_every_step_and_leaves_nothing(checkout):
    shown = checkout.run("make", "demo").stdout
    assert shown.count("  ok  ") == 7, shown
    assert "Proved in" in shown
    assert there(checkout) == set(), "no container and no volume is left"
    assert not (checkout.path / ".work" / "demo").exists(), "no state is left"


def test_a_demo_that_is_kept_is_swept_by_the_next_one(checkout):
    shown = checkout.run("make", "demo", "KEEP=1").stdout
    assert "Kept:" in shown
    assert f"{PREFIX}-docker.io" in there(checkout)
    checkout.run("make", "demo")
    assert there(checkout) == set()
