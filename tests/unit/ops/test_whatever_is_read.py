"""Whatever users, editors, disks and killed processes make of a file: an error, no traceback.

Each property takes valid files and damages them; only the errors that commands print in a line may
be raised. The examples are the same in every run.
"""

import io
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from host.errors import SetupError, TalosCacheError
from host.paths import ROOT
from ops import text_files
from ops.commands import import_archive
from ops.docker import api
from ops.engine import state_folder
from ops.errors import OpsError
from ops.stack import recovery, stack_files
from plan.images import archive
from plan.images.archive import ArchiveError, Lock
from plan.images.reference import parse_list
from plan.problems import ImageListError
from plan.settings.stack import parse
from toolchain import __main__ as toolchain

STACK_FILES = [
    *(path.read_bytes() for path in sorted((ROOT / "stacks").glob("*.yaml"))),
    *(path.read_bytes() for path in sorted((ROOT / "tests/fixtures/stacks/valid").glob("*.yaml"))),
]
LIST = b"docker.io/library/busybox:1.36\nghcr.io/a/b:1@sha256:" + b"ab" * 32 + b" # why\n"
LOCK = b'{"pid":1,"username":"me","hostname":"here","timestamp":"2026-01-01T00:00:00Z"}'
STATE = b'{"version":3,"checkpoint":{"stack":"mine","latest":{"resources":[{"urn":"x"}]}}}'
ARCHIVE_LOCK = archive.lock_text(
    Lock(
        platform="linux/amd64",
        registry_image="registry:3",
        registry_digest="sha256:" + "ab" * 32,
        images=(),
        boot_assets=(),
    )
)


def as_bytes(text):
    return text.encode(errors="surrogatepass")


# What means something in YAML, JSON, lists and paths.
MEANT = (
    *(
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "!!set ",
        "!x ",
        "? ",
        "- ",
        ": ",
        "---\n",
        "\n",
        "\t",
        "%",
        "|",
    ),
    *("{", "}", "[", "]", '"', "'", "#", ",", "null", "~", "yes", "true", "0o7", "1e400", ".inf"),
    *("2020-13-45", "27:40", "9" * 5000, "[" * 400, "@~nosuch/x", '"@a\\0b"', "@", "\0", "\ufeff"),
    *("talos_cache:", "talos-cache:", "file: ", "op: ", "kind: ", "=", "-1", '{"a":', "\\ud800"),
)
fragments = st.one_of(
    st.sampled_from(MEANT).map(str.encode), st.binary(max_size=8), st.text(max_size=8).map(as_bytes)
)


@st.composite
def damaged(draw, samples):
    """One of these contents with some of it cut out, put in, or said twice; or cut off."""
    content = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 30)))
        content = content[:start] + draw(fragments) + content[end:]
    return content[: draw(st.one_of(st.none(), st.integers(0, len(content))))]


def told(known, work, *arguments):
    """The text of a known error, empty where there is none; any other fails the test."""
    try:
        work(*arguments)
    except known as error:
        return str(error)
    return ""


calmly = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def stack(folder, monkeypatch):
    monkeypatch.setattr(stack_files, "FOLDER", folder)
    return folder / "Pulumi.mine.yaml"


@calmly
@given(content=damaged(STACK_FILES))
@example(content=b"config:\n  talos-cache:cluster: &a {patches: [*a]}\n")
@example(content=b"a: &a {<<: *a}\nconfig: {}\n")
@example(content=b"config:\n  ? [1]\n  : 2\n")
@example(content=b"")
def test_a_stack_file(stack, content):
    stack.write_bytes(content)
    assert len(told(TalosCacheError, stack_files.check, "mine")) < 50_000


@calmly
@given(content=damaged([LIST, LIST.decode().encode("utf-16")]))
def test_a_list_of_images(content):
    def read():
        parse_list(text_files.decoded(content), "a list", ("docker.io", "ghcr.io"))

    assert len(told((OpsError, ImageListError), read)) < 50_000


@calmly
@given(content=damaged([LOCK]))
def test_a_lock_of_the_engine(folder, content):
    (folder / "lock.json").write_bytes(content)
    assert "remove it" in (told(OpsError, recovery.dead_locks, folder) or "remove it")
    (folder / "lock.json").unlink()


@calmly
@given(content=damaged([STATE]))
def test_a_state_of_the_engine(folder, monkeypatch, content):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{folder}")
    state = folder / ".pulumi" / "stacks" / "talos-cache" / "mine.json"
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_bytes(content)
    backup = f"{state}.bak"
    assert backup in (told(OpsError, state_folder.refuse_damaged, "mine") or backup)
    assert backup in (told(SetupError, toolchain.has_resources, state) or backup)


@calmly
@given(content=damaged([ARCHIVE_LOCK.encode()]))
def test_the_lock_of_an_archive(content):
    assert len(told(ArchiveError, archive.parse_lock, content.decode(errors="replace"))) < 50_000


def members(*contents):
    """A tar of these members, uncompressed."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, content in contents:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return file.getvalue()


TAR = members((archive.LOCK, ARCHIVE_LOCK.encode()), (archive.REGISTRY_IMAGE, b"image" * 200))


class Docker:
    """A double that an import gets no further than."""

    def __init__(self):
        self.images = self

    def get(self, name):
        raise OpsError("no further")


@calmly
@given(content=damaged([TAR]), cut=st.one_of(st.none(), st.integers(0, 400)))
@example(content=TAR, cut=None)
def test_an_archive(folder, monkeypatch, content, cut):
    monkeypatch.setattr(api, "connect", Docker)
    monkeypatch.setattr(stack_files, "check", lambda stack: parse({}))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    path = folder / "all.tar.zst"
    path.write_bytes(zstandard.compress(content)[:cut])
    arguments = import_archive.Arguments(stack="mine", file=path, as_json=False, replace_tags=False)
    with pytest.raises(OpsError):
        import_archive.run(arguments)


def test_the_files_are_valid_before_they_are_damaged(stack):
    for content in STACK_FILES[:6]:
        stack.write_bytes(content)
        stack_files.check("mine")
    assert len(parse_list(LIST.decode(), "a list", ("docker.io", "ghcr.io"))) == 2
    assert toolchain_reads(STATE) is True
    assert json.loads(LOCK)["hostname"] == "here"
    assert archive.parse_lock(ARCHIVE_LOCK).platform == "linux/amd64"


def toolchain_reads(content):
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(content)
        file.flush()
        return toolchain.has_resources(Path(file.name))
