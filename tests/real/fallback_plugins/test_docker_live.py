"""The fallback docker plugin under the real engine, on real Docker."""

import json
import re
import subprocess
import time

import pytest

from tests.real.fallback_plugins.conftest import IMAGE, docker, has_traceback_of_a_plugin

CONTAINER = """
envs = ["A=1", "B=2"]
ports = [docker.ContainerPortArgs(internal=5000, external={port}, ip="127.0.0.1")]
made = docker.Container("cache", name="{prefix}-cache", image="{image}", envs=envs, ports=ports,
    restart="always", labels=[docker.ContainerLabelArgs(label="x", value="y")],
    destroy_grace_seconds=0{more})
pulumi.export("id", made.id)
"""


def container(project, port, more=""):
    more = f", {more}" if more else ""
    return CONTAINER.format(prefix=project.prefix, image=IMAGE, port=port, more=more)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


def inspect(name):
    return json.loads(docker("inspect", name))[0]


def test_up_then_no_change_then_destroy(project, ports):
    port = next(ports)
    program = f"""
        image = docker.RemoteImage("image", name="{IMAGE}", keep_locally=True)
        volume = docker.Volume("{project.prefix}-volume",
                labels=[docker.VolumeLabelArgs(label="a", value="b")])
        made = docker.Container("cache", name="{project.prefix}-cache", image=image.image_id,
            user="0:0", command=["/bin/httpd", "-f", "-p", "5000", "-h", "/tmp"],
            ports=[docker.ContainerPortArgs(internal=5000, external={port}, ip="127.0.0.1"),
                   docker.ContainerPortArgs(internal=5001)],
            volumes=[docker.ContainerVolumeArgs(volume_name=volume.name, container_path="/data"),
                     docker.ContainerVolumeArgs(host_path="/etc/hostname",
                         container_path="/there", read_only=True)],
            uploads=[docker.ContainerUploadArgs(file="/tmp/index.html", content="hello"),
                     docker.ContainerUploadArgs(file="/etc/run/me.sh", content="x",
                         executable=True)],
            healthcheck=docker.ContainerHealthcheckArgs(tests=["CMD", "/bin/true"], interval="1s"),
            log_driver="json-file", log_opts={{"max-size": "1m"}}, stop_timeout=3,
            tmpfs={{"/run": ""}}, sysctls={{"net.core.somaxconn": "512"}},
            dns_opts=["ndots:1"], hosts=[docker.ContainerHostArgs(host="h", ip="10.0.0.1")])
        pulumi.export("volume", volume.name)
        pulumi.export("ports", made.ports)
        pulumi.export("networks", made.network_datas)
    """
    project.write(program, options="refresh: always")
    assert "+ 4 to create" in project.preview()
    assert docker("ps", "-aq", "--filter", f"name={project.prefix}") == ""
    project.up()
    page = ["/bin/busybox", "wget", "-qO-", f"http://127.0.0.1:{port}/"]
    wait_for(lambda: subprocess.run(page, capture_output=True).stdout == b"hello")
    outputs = project.outputs()
    assert outputs["volume"].startswith(f"{project.prefix}-volume-")
    assert [found["networkName"] for found in outputs["networks"]] == ["bridge"]
    assert all(found["external"] for found in outputs["ports"])
    modes = docker("exec", f"{project.prefix}-cache", "/bin/stat", "-c", "%a", "/etc/run/me.sh")
    assert modes == "744"
    report = inspect(f"{project.prefix}-cache")
    assert report["Config"]["Healthcheck"]["Interval"] == 10**9
    assert report["HostConfig"]["Sysctls"] == {"net.core.somaxconn": "512"}
    project.preview("--expect-no-changes")
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert docker("ps", "-aq", "--filter", f"name={project.prefix}") == ""
    assert docker("volume", "ls", "-q", "--filter", f"name={outputs['volume']}") == ""
    assert docker("images", "-q", IMAGE), "keep_locally keeps the image"


def test_reordered_sets_are_no_change(project, ports):
    first, second = next(ports), next(ports)
    pair = [
        f'docker.ContainerPortArgs(internal=5000, external={first}, ip="127.0.0.1")',
        f'docker.ContainerPortArgs(internal=5001, external={second}, ip="127.0.0.1")',
    ]
    program = """
        docker.Container("c", name="{prefix}-c", image="{image}", envs={envs}, ports=[{ports}])
    """
    names = {"prefix": project.prefix, "image": IMAGE}
    project.write(program.format(envs=["A=1", "B=2"], ports=", ".join(pair), **names))
    project.up()
    project.write(program.format(envs=["B=2", "A=1"], ports=", ".join(pair[::-1]), **names))
    project.preview("--expect-no-changes")


def test_an_env_replaces_and_a_restart_policy_updates_the_live_container(project, ports):
    port = next(ports)
    project.write(container(project, port, "memory=64"))
    project.up()
    name, id_ = f"{project.prefix}-cache", project.outputs()["id"]

    project.write(container(project, port, "memory=32").replace('"always"', '"no"'))
    shown = project.preview()
    assert "~ 1 to update" in shown
    # The engine lines it up with memorySwap, which Docker has set by itself.
    assert re.search(r'~ restart *: "always" => "no"', shown)
    project.up()
    assert inspect(name)["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert inspect(name)["HostConfig"]["Memory"] == 32 * 1024 * 1024
    assert project.outputs()["id"] == id_ == inspect(name)["Id"]

    project.write(container(project, port).replace("A=1", "A=3"))
    shown = project.preview()
    assert "1 to replace" in shown
    project.up()
    assert project.outputs()["id"] != id_, "a new container: the name and port were free in time"
    assert "A=3" in inspect(name)["Config"]["Env"]


def test_a_refresh_restores_what_was_removed_stopped_or_changed(project, ports):
    port = next(ports)
    project.write(container(project, port), options="refresh: always")
    name = f"{project.prefix}-cache"
    project.up()

    docker("rm", "-f", name)
    assert "+ 1 to create" in project.preview()
    project.up()
    assert inspect(name)["State"]["Running"]

    docker("stop", "-t", "0", name)
    shown = project.preview()
    assert "1 to replace" in shown
    assert "mustRun" in shown
    assert not inspect(name)["State"]["Running"], "a preview must not touch it"
    project.up()
    assert inspect(name)["State"]["Running"]

    docker("update", "--restart=on-failure", name)
    assert '~ restart: "on-failure" => "always"' in project.preview()
    project.up()
    assert inspect(name)["HostConfig"]["RestartPolicy"]["Name"] == "always"
    project.preview("--expect-no-changes")


def test_secrets_stay_secret_in_the_state_and_in_previews(project, ports):
    program = f"""
        word = config.require_secret("word")
        docker.Container("c", name="{project.prefix}-c", image="{IMAGE}",
            envs=["A=1", pulumi.Output.concat("P=", word)], restart="POLICY",
            uploads=[docker.ContainerUploadArgs(file="/tmp/f", content=word, permissions="0600")])
    """
    project.write(program.replace("POLICY", "no"), options="refresh: always")
    project.pulumi("config", "set", "--secret", "word", "hunter2-in-clear")
    shown = project.preview()
    assert "[secret]" in shown
    assert "hunter2" not in shown
    project.up()
    assert "P=hunter2-in-clear" in inspect(f"{project.prefix}-c")["Config"]["Env"]
    assert docker("exec", f"{project.prefix}-c", "/bin/cat", "/tmp/f") == "hunter2-in-clear"
    assert docker("exec", f"{project.prefix}-c", "/bin/stat", "-c", "%a", "/tmp/f") == "600"
    assert "hunter2" not in project.state_file()
    project.preview("--expect-no-changes")
    project.write(program.replace("POLICY", "always"), options="refresh: always")
    assert "hunter2" not in project.up()
    assert "hunter2" not in project.state_file(), "an update must not reveal what a create hid"
    project.pulumi("refresh", "--yes", "--skip-preview")
    assert "hunter2" not in project.state_file()


def test_a_retained_volume_is_adopted_with_its_data(project):
    name = f"{project.prefix}-v"
    project.write(
        f"""
        docker.Volume("v", name="{name}", labels=[docker.VolumeLabelArgs(label="a", value="b")],
            opts=pulumi.ResourceOptions(retain_on_delete=True))
    """,
        options="refresh: always",
    )
    project.up()
    docker("run", "--rm", "-v", f"{name}:/data", IMAGE, "/bin/sh", "-c", "echo kept > /data/f")
    project.pulumi("destroy", "--yes", "--skip-preview")
    project.up()
    content = docker("run", "--rm", "-v", f"{name}:/data", IMAGE, "/bin/cat", "/data/f")
    assert content == "kept"
    project.preview("--expect-no-changes")


def test_a_changed_label_replaces_a_volume_and_so_does_an_adopted_one_with_others(project):
    name = f"{project.prefix}-v"
    docker("volume", "create", "--label", "by=hand", name)
    program = """
        labels = [docker.VolumeLabelArgs(label="a", value="{value}")]
        docker.Volume("v", name="{name}", labels=labels)
    """
    project.write(program.format(name=name, value="1"))
    project.up()
    project.preview("--expect-no-changes")
    shown = project.preview("--refresh")
    assert "1 to replace" in shown, "only a refresh reads the real labels"
    project.pulumi("refresh", "--yes", "--skip-preview")
    project.up()
    assert json.loads(docker("volume", "inspect", name))[0]["Labels"] == {"a": "1"}
    project.preview("--expect-no-changes")
    project.write(program.format(name=name, value="2"))
    assert "1 to replace" in project.preview()


def test_an_unimplemented_property_and_resource_are_refused_by_name(project):
    project.write(
        f'docker.Container("c", name="{project.prefix}", image="{IMAGE}", privileged=True)'
    )
    shown = project.preview(fails=True)
    assert "the property 'privileged' of Container" in shown
    assert "install the official plugin" in shown
    assert not has_traceback_of_a_plugin(shown)
    project.write('docker.Tag("t", source_image="a", target_image="b")')
    shown = project.preview(fails=True)
    assert "the resource type 'docker:index/tag:Tag'" in shown
    project.write('docker.get_plugin(alias="x")')
    assert "docker:index/getPlugin:getPlugin" in project.preview(fails=True)
    project.write('docker.Provider("p", cert_path="/x")')
    assert "docker:certPath" in project.preview(fails=True)


def test_a_name_that_is_taken_is_one_clear_line_and_leaves_nothing(project, ports):
    name = f"{project.prefix}-cache"
    docker("run", "-d", "--name", name, IMAGE)
    project.write(container(project, next(ports)))
    shown = project.up(fails=True)
    assert f"'{name}': the name is already in use" in shown
    assert not has_traceback_of_a_plugin(shown)
    assert "cache" not in project.resources()


@pytest.mark.parametrize("refresh", ["", "refresh: always"])
def test_a_container_whose_port_is_taken_stays_and_the_next_up_replaces_it(project, ports, refresh):
    port, name = next(ports), f"{project.prefix}-cache"
    holder = f"{project.prefix}-holder"
    docker("run", "-d", "--name", holder, "-p", f"127.0.0.1:{port}:5000", IMAGE)
    project.write(container(project, port), options=refresh)
    shown = project.up(fails=True)
    assert f"'{name}': port 127.0.0.1:{port} is already allocated" in shown
    assert not has_traceback_of_a_plugin(shown)
    partly_created = inspect(name)
    assert partly_created["State"]["Status"] == "created"
    assert project.resources()["cache"]["id"] == partly_created["Id"]
    assert project.resources()["cache"]["initErrors"]
    docker("rm", "-f", holder)
    project.up()
    assert inspect(name)["State"]["Running"]
    assert inspect(name)["Id"] != partly_created["Id"]
    project.preview("--expect-no-changes")


def test_a_container_that_exits_at_once_counts_as_created(project):
    name = f"{project.prefix}-c"
    project.write(f'docker.Container("c", name="{name}", image="{IMAGE}", command=["/bin/false"])')
    project.up()
    assert docker("wait", name) == "1"
    project.pulumi("refresh", "--yes", "--skip-preview")
    shown = project.preview()
    assert "~ 1 to update" in shown
    assert "mustRun: false => true" in shown


def test_an_image_that_is_not_there_and_can_not_be_pulled_is_named(project):
    project.write('docker.RemoteImage("i", name="127.0.0.1:1/nowhere:1")')
    assert "'127.0.0.1:1/nowhere:1'" in project.up(fails=True)


def test_unreachable_docker_is_reported_in_one_line_with_what_to_do(project):
    project.environment["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    project.write(container(project, 15499))
    shown = project.preview(fails=True)
    assert "can't be reached at unix:///nowhere/docker.sock" in shown
    assert "DOCKER_HOST" in shown
    assert not has_traceback_of_a_plugin(shown)


def test_a_destroy_accepts_what_is_gone_already(project, ports):
    project.write(
        container(project, next(ports)) + f'\ndocker.Volume("v", name="{project.prefix}-v")'
    )
    project.up()
    docker("rm", "-f", f"{project.prefix}-cache")
    docker("volume", "rm", f"{project.prefix}-v")
    project.pulumi("destroy", "--yes", "--skip-preview")


def test_get_network_returns_what_docker_reports(project):
    project.write("""
        net = docker.get_network(name="bridge")
        pulumi.export("net", {"name": net.name, "driver": net.driver, "scope": net.scope,
            "id": net.id, "subnets": [pool.subnet for pool in net.ipam_configs],
            "gateways": [pool.gateway for pool in net.ipam_configs]})
    """)
    project.up()
    net = project.outputs()["net"]
    real = json.loads(docker("network", "inspect", "bridge"))[0]
    assert net["id"] == real["Id"]
    assert net["scope"] == "local"
    assert net["subnets"] == [pool["Subnet"] for pool in real["IPAM"]["Config"]]
    assert net["gateways"] == [pool.get("Gateway", "") for pool in real["IPAM"]["Config"]]
    project.write('docker.get_network(name="fallback-test-no-such-network")')
    assert "fallback-test-no-such-network" in project.preview(fails=True)
