"""The message at the end of a failed run; the errors are the official plugins' own."""

import pytest

from plan.failures import LAST_LINES, OTHERWISE, Failure, found, report

AGAIN = "make up STACK=docker"
URN = "urn:pulumi:docker::talos-cache::talos-cache:index:CacheSet$docker:index/"
STACK = "urn:pulumi:docker::talos-cache::pulumi:pulumi:Stack::talos-cache-docker"
IMAGE = f"{URN}remoteImage:RemoteImage::caches-image"
NO_DOCKER = (
    "docker native provider returned an unexpected error from Configure: "
    "failed to connect to any docker daemon"
)
NO_IMAGE = (
    "Unable to read Docker image into resource: unable to pull image nosuch:1.0: error pulling "
    'image nosuch:1.0: Error response from daemon: Get "https://registry-1.docker.io/v2/": dial '
    "tcp: lookup registry-1.docker.io: network is unreachable"
)
NO_FIRMWARE = (
    "create of the cluster talos-default failed: sudo ended with 1: the required flash image was "
    'not found in any of the expected paths for (["/usr/share/OVMF/OVMF_CODE.fd"]), please install '
    "it with the package manager or specify --extra-uefi-search-paths"
)


def container(name):
    return f"{URN}container:Container::{name}-container"


def error(message, urn="", severity="error"):
    return {"diagnosticEvent": {"urn": urn, "message": f"{message}\n", "severity": severity}}


def told(*events, interrupted=False):
    return report("up", AGAIN, events, interrupted=interrupted)


def test_one_error_of_many_resources_is_shown_once_with_their_names():
    names = ["docker-io", "quay-io", "ghcr-io", "gcr-io", "k8s"]
    events = [error(NO_DOCKER, container(name)) for name in names]
    assert told(*events, error("update failed")).splitlines() == [
        "up failed:",
        "  docker-io-container, quay-io-container, ghcr-io-container and 2 more: " + NO_DOCKER,
        f"Docker does not answer. Start it, then: {AGAIN}",
    ]


def test_what_the_provider_reports_in_different_wrappers_is_one_error():
    logged = f"  sdk-v2/provider2.go:571: sdk.helper_schema: {NO_IMAGE}: provider=docker@5.2.0"
    listed = f"1 error occurred:\n\t* {NO_IMAGE}\n\n"
    created = f"1 error occurred:\n\t* creating {IMAGE}: 1 error occurred:\n\t* {NO_IMAGE}"
    events = [error(text, IMAGE) for text in (logged, listed, created)]
    assert found(events) == (Failure(NO_IMAGE, ("caches-image",), of_image=True),)


def test_on_a_terminal_the_engine_marks_colours():
    """As written when the output was a terminal (3.259.0)."""
    logged = f"  sdk-v2/provider2.go:571: sdk.helper_schema: {NO_IMAGE}: provider=docker@5.2.0"
    events = [
        error(f"<{{%reset%}}>{text}<{{%reset%}}>", urn)
        for text, urn in ((logged, IMAGE), (NO_IMAGE, IMAGE), ("update failed", STACK))
    ]
    assert found(events) == (Failure(NO_IMAGE, ("caches-image",), of_image=True),)


def test_different_errors_stay_in_their_order():
    events = [
        error("first", container("a")),
        error("second", container("b")),
        error("first", IMAGE),
    ]
    assert found(events) == (
        Failure("first", ("a-container", "caches-image"), of_image=True),
        Failure("second", ("b-container",)),
    )


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (NO_DOCKER, "Docker does not answer"),
        ("Cannot connect to the Docker daemon at unix:///x", "Docker does not answer"),
        ("permission denied while trying to connect to the Docker daemon", "group docker"),
        ("dial unix /var/run/docker.sock: connect: permission denied", "group docker"),
        ("dial unix /run/other.sock: connect: permission denied", "group docker"),
        ("Permission denied: '/home/me/talos-cache/docker-cluster/owner.json'", "continue with: "),
        ("Bind for 127.0.0.1:5000 failed: port is already allocated", "took a port"),
        ("write /var/lib/docker/x: no space left on device", "The disk is full"),
        (NO_FIRMWARE, "apt-get install ovmf"),
        ("error pulling image: toomanyrequests: You have reached", "docker login"),
        (NO_IMAGE, "talos-cache:cache.image"),
        ("exit status 1", "continue with: "),
    ],
)
def test_each_error_comes_with_what_to_do(message, remedy):
    last = told(error(message, IMAGE)).splitlines()[-1]
    assert remedy in last
    assert last.endswith(AGAIN)


def test_the_same_remedy_is_shown_once():
    assert told(error("exit status 1", IMAGE), error("exit status 2", IMAGE)).count(AGAIN) == 1


@pytest.mark.parametrize("urn", ["", STACK], ids=["of no resource", "of the stack"])
def test_the_programs_own_message_is_shown_as_it_is(urn):
    message = "Nothing was changed:\nThe container registry-docker.io already exists. Remove it."
    noise = "an unhandled error occurred: program exited with non-zero exit code: 1"
    events = (error(message, urn), error(noise), error("update failed"))
    assert told(*events) == f"up failed:\n{message}"


def test_warnings_debug_lines_and_other_events_are_not_errors():
    events = (
        error("using pulumi-resource-docker from $PATH", severity="warning"),
        error("[DEBUG] no such thing", IMAGE, severity="debug"),
        error("Traceback (most recent call last):", severity="info#err"),
        {"summaryEvent": {"result": "failed"}},
    )
    assert found(events) == ()
    assert told(*events) == "up failed: the last lines above say why."


def test_of_a_long_text_the_beginning_and_the_end_are_shown():
    lines = [f"line {number}" for number in range(40)]
    report_lines = told(error("\n".join(lines), IMAGE)).splitlines()
    shown = [line.strip() for line in report_lines[2:-1]]
    assert report_lines[1] == "  caches-image: line 0"
    assert shown == ["line 1", "... (28 more lines above)", *lines[-LAST_LINES:]]


def test_an_interrupted_run_says_so_and_how_to_continue():
    first, last = told(error("update canceled"), interrupted=True).splitlines()
    assert first == "up was interrupted:"
    text = told(error("no space left on device", IMAGE), interrupted=True)
    assert "caches-image: no space left on device" in text
    assert last == text.splitlines()[-1] == OTHERWISE.format(again=AGAIN)


def test_a_node_image_is_not_the_caches_image():
    text = "the node image talos:v1.13.99 can't be pulled through its cache: manifest unknown"
    *_, last = told(error(text, f"{URN}command:local:Command::dev")).splitlines()
    assert "cache.image" not in last
