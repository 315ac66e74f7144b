"""CacheSet and PullThroughCache, as the engine sees them."""

import json

import pulumi
import pytest

from components import CacheSet
from plan.caches.cache_plan import VOLUME_LABELS
from tests.unit.components.engine import CACHE, CONTAINER, IMAGE, IMAGE_ID, SET, VOLUME, Secret, run
from tests.unit.plan.shapes import MADE, pem, planned

LABELS = {"talos-cache.stack": "mine", "talos-cache.project": "talos-cache"}
TWO = {
    "docker.io": {},
    "registry.lan:5000": {"remoteUrl": "http://registry.lan:5000", "port": 6000},
}
CREDENTIALS = {"docker.io": {"username": "alice", "password": "hunter2"}}


def all_well(plans, warn):
    return None


def plans_for(config):
    return planned(config).caches


def registered(config=None, *, preview=False, probe=all_well):
    plans = plans_for({"upstreams": TWO} if config is None else config)
    return run(lambda: CacheSet("caches", plans, LABELS, probe=probe), preview=preview)


def texts_of(value, *, in_secret=False):
    """Every text in a registration, with whether it is inside a secret."""
    if isinstance(value, Secret):
        yield from texts_of(value.value, in_secret=True)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key, in_secret
            yield from texts_of(item, in_secret=in_secret)
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item, in_secret=in_secret)
    else:
        yield str(value), in_secret


def test_every_upstream_is_exactly_a_component_a_volume_and_a_container():
    record = registered()
    assert sorted((resource.typ, resource.name) for resource in record.resources) == sorted(
        [
            (SET, "caches"),
            (IMAGE, "caches-image"),
            (CACHE, "docker-io"),
            (VOLUME, "docker-io-volume"),
            (CONTAINER, "docker-io-container"),
            (CACHE, "registry-lan-5000"),
            (VOLUME, "registry-lan-5000-volume"),
            (CONTAINER, "registry-lan-5000-container"),
        ]
    )


def test_one_more_upstream_changes_nothing_of_the_others():
    def shape(record):
        return {
            resource.urn: (resource.inputs, resource.parent, resource.retain_on_delete)
            for resource in record.resources
        }

    one = shape(registered({"upstreams": {"docker.io": {}}}))
    two = shape(registered())
    assert {urn: two.get(urn) for urn in one} == one, "a preview would show more than three creates"
    assert len(two) == len(one) + 3


def test_the_components_take_no_properties():
    record = registered()
    for component in [*record.of(SET), *record.of(CACHE)]:
        assert component.inputs == {}, "a property per upstream would show as an update of the set"


def test_every_resource_has_the_right_parent():
    record = registered()
    caches_urn = record.one(SET).urn
    assert record.one(SET).parent.endswith("talos-cache-mine"), "the set hangs below the stack"
    assert record.one(IMAGE).parent == caches_urn
    assert {cache.parent for cache in record.of(CACHE)} == {caches_urn}
    for cache in record.of(CACHE):
        assert record.one(VOLUME, f"{cache.name}-volume").parent == cache.urn
        assert record.one(CONTAINER, f"{cache.name}-container").parent == cache.urn


def test_one_image_is_pulled_and_stays_when_the_stack_goes():
    record = registered()
    image = record.one(IMAGE)
    assert image.inputs == {"name": "registry:3.1.2", "keepLocally": True}
    images = {container.inputs["image"] for container in record.of(CONTAINER)}
    assert images == {IMAGE_ID}, "with the image's name instead of its id every up is a diff"


@pytest.mark.parametrize(("on_destroy", "kept"), [("keep", True), ("delete", False)])
def test_volumes_outlive_the_stack_unless_configured_otherwise(on_destroy, kept):
    record = registered({"upstreams": TWO, "cache": {"onDestroy": on_destroy}})
    assert {volume.retain_on_delete for volume in record.of(VOLUME)} == {kept}
    others = [r for r in record.resources if r.typ != VOLUME]
    assert not [r.name for r in others if r.retain_on_delete], "only volumes are left behind"


def test_nothing_on_a_volume_can_ever_change():
    volume = registered().one(VOLUME, "docker-io-volume")
    assert volume.inputs == {
        "name": "registry-docker.io",
        "labels": [{"label": "talos-cache.project", "value": "talos-cache"}],
    }, "any other input, once changed, replaces the volume and loses what it holds"
    assert VOLUME_LABELS == {"talos-cache.project": "talos-cache"}, "an uninstall looks for it"


def test_an_existing_volume_keeps_its_labels():
    for volume in registered().of(VOLUME):
        kept = ["labels", "driver", "driverOpts"]
        assert volume.ignore_changes == kept, "another would replace it, images and all"


def test_a_container_is_deleted_before_its_replacement():
    for container in registered().of(CONTAINER):
        assert container.delete_before_replace, "two can't have the same name and port at once"


def test_a_container_has_the_inputs_of_the_plan():
    container = registered().one(CONTAINER, "docker-io-container").inputs
    assert container["name"] == "registry-docker.io"
    assert container["restart"] == "always", "caches come back with the machine"
    assert container["mustRun"] is True
    assert container["volumes"] == [
        {"volumeName": "registry-docker.io", "containerPath": "/var/lib/registry"}
    ]
    assert "REGISTRY_PROXY_REMOTEURL=https://registry-1.docker.io" in container["envs"]


def test_logs_are_rotated_from_the_first_day():
    container = registered().one(CONTAINER, "docker-io-container").inputs
    assert container["logDriver"] == "json-file"
    assert set(container["logOpts"]) == {"max-size", "max-file"}, "else they grow without limit"


def test_docker_checks_the_health_of_every_cache():
    for container in registered().of(CONTAINER):
        check = container.inputs["healthcheck"]
        assert check["tests"][0] == "CMD", "the image need not have a shell for it"
        assert check["tests"][-1].endswith("/debug/health")


def test_ports_are_published_on_each_bind_address_and_on_no_other():
    ports = registered().one(CONTAINER, "docker-io-container").inputs["ports"]
    assert ports == [
        {"internal": 5000, "external": 5000, "ip": "127.0.0.1"},
        {"internal": 5000, "external": 5000, "ip": "172.17.0.1"},
    ]
    lan = registered().one(CONTAINER, "registry-lan-5000-container").inputs["ports"]
    assert {port["external"] for port in lan} == {6000}


def test_containers_carry_the_labels_in_a_fixed_order():
    labels = registered().one(CONTAINER, "docker-io-container").inputs["labels"]
    assert labels == [
        {"label": "talos-cache.project", "value": "talos-cache"},
        {"label": "talos-cache.stack", "value": "mine"},
    ], "another order would replace every container"


def test_the_credential_helper_can_be_run_and_is_plain_without_credentials():
    inputs = registered().one(CONTAINER, "docker-io-container").inputs
    helper, watch = inputs["uploads"]
    assert helper["file"] == "/usr/local/bin/docker-credential-talos-cache"
    for upload in (helper, watch):
        assert upload["executable"] is True
        assert upload["content"].startswith("#!/bin/sh\n"), "nothing secret: previews may show it"
    assert inputs["entrypoints"] == [watch["file"]], "it becomes the registry"
    assert inputs["command"] == ["registry", "serve", "/etc/distribution/config.yml"]


def test_a_cache_with_nothing_to_watch_starts_as_its_image_does():
    config = {"upstreams": {"docker.io": {}}, "offline": True}
    inputs = registered(config).one(CONTAINER, "docker-io-container").inputs
    assert not {"entrypoints", "command"} & set(inputs)
    assert len(inputs["uploads"]) == 1, "the credential helper"
    assert inputs["sysctls"]["net.ipv4.tcp_syn_retries"] == "1", "that helps without a watch too"


def test_credentials_are_secret_and_only_in_the_helper():
    record = registered({"upstreams": TWO, "credentials": CREDENTIALS})
    told = [
        (resource.name, in_secret)
        for resource in record.resources
        for text, in_secret in texts_of(resource.inputs)
        if "hunter2" in text or "alice" in text
    ]
    assert told == [("docker-io-container", True)]
    assert "hunter2" not in json.dumps(record.outputs, default=str)
    other = record.one(CONTAINER, "registry-lan-5000-container").inputs["uploads"][0]
    assert not isinstance(other["content"], Secret), "only the upstream with credentials has any"


def test_the_probe_never_runs_in_a_preview():
    asked = []
    registered(preview=True, probe=lambda plans, warn: asked.append(plans) or "failing")
    assert asked == [], "a preview of a stack that is down is no error, and opens no connection"


def test_the_probe_runs_once_for_all_caches_in_an_update():
    asked = []
    registered(probe=lambda plans, warn: asked.append([plan.host for plan in plans]))
    assert asked == [["docker.io", "registry.lan:5000"]]


def test_a_failing_cache_fails_the_update_with_the_report_as_it_is():
    report = "1 cache does not answer:\n  registry-docker.io (docker.io)"
    with pytest.raises(pulumi.RunError) as caught:
        registered(probe=lambda plans, warn: report)
    assert str(caught.value) == report


@pytest.mark.parametrize("preview", [True, False])
def test_every_component_registers_its_outputs(preview):
    record = registered(preview=preview)
    for component in [*record.of(SET), *record.of(CACHE)]:
        assert record.outputs.get(component.urn), f"{component.name} is 'creating...' for ever"
    set_outputs = record.outputs[record.one(SET).urn]
    assert set_outputs == {"image": "registry:3.1.2", "ready": True}
    cache_outputs = record.outputs[record.one(CACHE, "docker-io").urn]
    assert cache_outputs == {"container": "registry-docker.io", "volume": "registry-docker.io"}


def test_the_set_gives_its_caches_by_host():
    plans = plans_for({"upstreams": TWO})
    made = []
    run(lambda: made.append(CacheSet("caches", plans, LABELS, probe=all_well)))
    assert set(made[0].caches) == set(TWO)


LOGIN = {"username": "nodes", "password": "hunter2"}


def files_in(record, host="docker-io"):
    """Path in the container -> the upload of a file that is no program."""
    uploads = record.one(CONTAINER, f"{host}-container").inputs["uploads"]
    return {upload["file"]: upload for upload in uploads if not upload.get("executable")}


def test_a_cache_without_tls_login_and_ca_gets_programs_only():
    assert files_in(registered()) == {}


def test_only_the_registry_can_read_the_key_of_its_certificate():
    record = registered({"upstreams": TWO, "cache": {"tls": True}})
    for host in ("docker-io", "registry-lan-5000"):
        assert files_in(record, host) == {
            "/etc/talos-cache/server.pem": {
                "file": "/etc/talos-cache/server.pem",
                "content": MADE.certificate,
            },
            "/etc/talos-cache/server.key": {
                "file": "/etc/talos-cache/server.key",
                "content": Secret(MADE.key),
                "permissions": "0600",
            },
        }


def test_the_htpasswd_file_is_secret_and_the_password_is_nowhere():
    record = registered({"upstreams": TWO, "cacheLogin": LOGIN})
    (upload,) = files_in(record).values()
    assert upload["file"] == "/etc/talos-cache/htpasswd"
    assert upload["permissions"] == "0600"
    assert isinstance(upload["content"], Secret), "a hash can be guessed at"
    assert upload["content"].value.startswith("nodes:$2b$")
    assert not [
        resource.name
        for resource in record.resources
        for text, _ in texts_of(resource.inputs)
        if "hunter2" in text
    ]
    told = [
        (resource.typ, in_secret)
        for resource in record.resources
        for text, in_secret in texts_of(resource.inputs)
        if "nodes" in text
    ]
    assert told == [(CONTAINER, True)] * 2


def test_the_ca_of_an_upstream_is_only_in_its_cache_and_not_secret():
    own = {**TWO["registry.lan:5000"], "ca": "@certs/ca.pem"}
    record = registered({"upstreams": {"docker.io": {}, "registry.lan:5000": own}})
    assert files_in(record) == {}
    (upload,) = files_in(record, "registry-lan-5000").values()
    assert upload["content"] == pem("certs/ca.pem")
    assert "permissions" not in upload


def test_a_stack_with_every_upstream_behind_harbor_has_no_caches():
    asked, made = [], []
    harbor = {"backend": "harbor", "harbor": {"url": "https://harbor.example.com"}}
    plans = plans_for(harbor)

    def program():
        made.append(CacheSet("caches", plans, LABELS, probe=asked.append))

    record = run(program)
    assert [resource.typ for resource in record.resources] == [SET]
    assert record.outputs[record.one(SET).urn] == {"ready": True}
    assert made[0].caches == {}
    assert asked == [], "there is nothing to wait for"
