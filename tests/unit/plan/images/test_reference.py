"""Image references and lists as people write them."""

import pytest

from plan.images.reference import (
    ImageReference,
    parse_list,
    parse_platform,
)
from plan.problems import ImageListError

HOSTS = ("docker.io", "ghcr.io", "registry.example.com:5010")
DIGEST = "sha256:" + "0123456789abcdef" * 4


def read(text):
    return parse_list(text, "images.txt", HOSTS)


@pytest.mark.parametrize(
    ("line", "image"),
    [
        (
            "docker.io/library/busybox:1.36",
            ImageReference(host="docker.io", repository="library/busybox", tag="1.36"),
        ),
        (
            "docker.io/nginx:1",
            ImageReference(host="docker.io", repository="library/nginx", tag="1"),
        ),
        (
            "registry.example.com:5010/team/app:v1",
            ImageReference(host="registry.example.com:5010", repository="team/app", tag="v1"),
        ),
        (
            f"ghcr.io/siderolabs/kubelet@{DIGEST}",
            ImageReference(host="ghcr.io", repository="siderolabs/kubelet", digest=DIGEST),
        ),
        (
            f"ghcr.io/siderolabs/kubelet:v1@{DIGEST}  # both",
            ImageReference(
                host="ghcr.io", repository="siderolabs/kubelet", tag="v1", digest=DIGEST
            ),
        ),
    ],
)
def test_a_reference_is_read_whole_and_written_the_same(line, image):
    assert read(line) == (image,)
    assert read(str(image)) == (image,)


def test_the_digest_decides_what_is_pulled():
    tagged, pinned = read(f"ghcr.io/a:v1\nghcr.io/a:v1@{DIGEST}")
    assert (tagged.wanted, pinned.wanted) == ("v1", DIGEST)


def test_comments_empty_lines_and_repetitions_do_not_count():
    text = "# all we need\n\nghcr.io/b:1 # first\n  ghcr.io/a:1\nghcr.io/b:1\n"
    assert [image.repository for image in read(text)] == ["b", "a"]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("busybox:1", "the registry's host"),
        ("library/busybox:1", "the registry's host"),
        ("Docker.io/library/busybox:1", "lower"),
        ("GHCR.IO/team/app:1", "lower"),
        ("Index.Docker.io/library/busybox:1", "docker.io"),
        ("-ghcr.io/a:1", "host, then path"),
        ("ghcr.io:99999/a:1", "host, then path"),
        ("ghcr..io/a:1", "host, then path"),
        ("index.docker.io/library/busybox:1", "docker.io"),
        ("ghcr.io/Team/app:1", "lower"),
        ("ghcr.io/team//app:1", "lower"),
        ("ghcr.io/:1", "lower"),
        ("https://ghcr.io/a:1", "lower"),
        ("ghcr.io/team/app", "exact images"),
        ("ghcr.io/team/app:", "exact images"),
        ("ghcr.io/team/app:a b", "128 letters"),
        (f"ghcr.io/team/app:{'x' * 129}", "128 letters"),
        ("ghcr.io/team/app@sha256:abc", "64 hex digits"),
        ("ghcr.io/team/app:1@", "64 hex digits"),
        ("quay.io/team/app:1", "docker.io, ghcr.io, registry.example.com:5010"),
    ],
)
def test_a_wrong_name_is_refused_with_its_line_and_the_rule(line, rule):
    with pytest.raises(ImageListError) as caught:
        read(f"ghcr.io/fine:1\n{line}\n")
    (problem,) = caught.value.problems
    assert str(problem).startswith("images.txt, line 2\n"), "and not with the namespace of keys"
    assert rule in problem.rule
    assert repr(line)[:100] in str(caught.value)


def test_all_mistakes_are_reported_together():
    with pytest.raises(ImageListError, match="2 mistakes"):
        read("busybox\nghcr.io/a:1\nquay.io/a:1\n")


@pytest.mark.parametrize("host", ["GHCR.IO", "Docker.io", "Index.Docker.IO"])
def test_the_fix_for_a_host_in_capitals_makes_a_valid_list(host):
    with pytest.raises(ImageListError) as caught:
        read(f"{host}/team/app:1")
    (problem,) = caught.value.problems
    assert read(f"{problem.fix.split()[1]}/team/app:1"), "what is proposed can be written"


def test_of_many_mistakes_the_first_are_shown_and_all_are_counted():
    many = "".join(f"line {number}\n" for number in range(60_000))
    with pytest.raises(ImageListError) as caught:
        read(many)
    said = str(caught.value)
    assert said.startswith("60000 mistakes in the list of images")
    assert "images.txt, line 20\n" in said
    assert "images.txt, line 21" not in said
    assert said.endswith("\n  and 59980 more like these")
    assert len(said) < 10_000


@pytest.mark.parametrize(
    "line", ["x" * 100_000, "ghcr.io/" + "a" * 100_000, "A" * 99_999 + ".io/a:1"]
)
def test_an_unreadably_long_line_is_cut(line):
    with pytest.raises(ImageListError) as caught:
        read(line)
    assert len(str(caught.value)) < 2_000
    assert "..." in str(caught.value)


def test_an_empty_list_is_refused():
    with pytest.raises(ImageListError, match="at least one image"):
        read("# nothing\n")


@pytest.mark.parametrize("text", ["linux/amd64", "linux/arm/v7"])
def test_a_platform_is_read_and_written_the_same(text):
    assert str(parse_platform(text)) == text


@pytest.mark.parametrize("text", ["amd64", "linux/", "Linux/amd64", "linux/amd64/v2/x"])
def test_what_is_not_a_platform_is_refused(text):
    with pytest.raises(ImageListError, match="linux/amd64"):
        parse_platform(text)
