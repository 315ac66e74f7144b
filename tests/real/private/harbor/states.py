"""What the double knows: looked at, and brought about as by somebody else."""

import json

from tests.real.private.harbor.conftest import DOCKER

CHANGES = ("POST", "PUT", "PATCH", "DELETE")


def names(things):
    return sorted(one["name"] for one in things.values())


def nothing_is_there(known):
    return not (known.registries or known.projects or known.robots or known.quotas)


def changes(known):
    return [(method, path) for method, path in known.requests if method in CHANGES]


def the(things, name):
    (found,) = (one for one in things.values() if one["name"] == name)
    return found


def hold_something(known, project="proxy-docker.io", count=1):
    """As if so many repositories had been pulled through a project."""
    number = known.project(project)["project_id"]
    config = {"digest": "sha256:" + "c" * 64, "size": 2, "mediaType": "x"}
    content = json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()
    for index in range(count):
        repository = known.store.repository(number, f"library/image-{index}")
        repository.blobs.add(config["digest"])
        repository.manifests["sha256:" + "d" * 64] = ("application/json", content)
        repository.tags["v1"] = "sha256:" + "d" * 64


def somebodys(
    known, *, url=DOCKER, public="false", name="theirs", description="", user="", registry=900
):
    """A proxy cache that another user has created; on no registry endpoint it is none."""
    credential = {"type": "basic", "access_key": user, "access_secret": "x"} if user else {}
    known.registries[900] = {
        "id": 900,
        "name": name,
        "url": url,
        "type": "docker-hub",
        "description": description,
        "credential": credential,
        "insecure": False,
        "status": "healthy",
    }
    known.projects[901] = {
        "project_id": 901,
        "owner_id": 1,
        "name": "proxy-docker.io",
        "metadata": {"public": public},
    }
    if registry:
        known.projects[901]["registry_id"] = registry
