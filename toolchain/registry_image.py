"""The registry's image: pulled; if that fails, the same server built here from its Go module."""

import io
import subprocess
import tarfile
from pathlib import Path

from host.console import say
from host.errors import SetupError
from host.programs import output_of
from toolchain import debian, go
from toolchain.steps import (
    StepFailedError,
    progress,
    run,
)
from toolchain.versions import REGISTRY

IMAGE = f"registry:{REGISTRY}"
# Published by the registry's own project, for when Docker Hub's pull limit is reached.
# plan/caches/cache_plan.py sets what its configuration has otherwise.
IMAGE_ON_GHCR = f"ghcr.io/distribution/distribution:{REGISTRY}"
PACKAGE = "github.com/distribution/distribution/v3/cmd/registry"
VERSION_VARIABLE = "github.com/distribution/distribution/v3/version.version"
BUSYBOX = Path("/bin/busybox")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PULL_SECONDS = 300
# Marks an image that was not pulled. The registry itself ignores it.
BUILT_HERE = "TALOS_CACHE_IMAGE=built-here"
# The official image has more of busybox; this is what the health check, the credential helper and a
# curious user need.
APPLETS = ("cat", "du", "find", "ls", "nc", "ps", "rm", "sh", "wget")
# As in the official image.
CONFIG = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""


def ensure() -> str:
    """Make sure that the default image is there; returns a phrase that says where it is from."""
    if not _exists() and not _pulled(IMAGE):
        if _pulled(IMAGE_ON_GHCR):
            run(f"naming it {IMAGE}", ["docker", "tag", IMAGE_ON_GHCR, IMAGE])
        else:
            say(f"building {IMAGE} from its Go module")
            _build()
    return f"{IMAGE} ({_origin()})"


def server() -> Path:
    """The registry's program, built here."""
    return go.build("registry", REGISTRY, PACKAGE, f"-X {VERSION_VARIABLE}={REGISTRY}")


def busybox() -> Path:
    """A static busybox, installed if it is missing."""
    if not BUSYBOX.exists():
        debian.install(("busybox-static",), "an image needs a static busybox")
    return BUSYBOX


def _exists() -> bool:
    return bool(_inspected("{{.Id}}"))


def _pulled(reference: str) -> bool:
    try:
        argv = ["docker", "pull", "--quiet", reference]
        run(f"pulling {reference}", argv, timeout=PULL_SECONDS)
    except StepFailedError as failure:
        say(f"{reference} can't be pulled: {failure.last_line}")
        return False
    return True


def _origin() -> str:
    if BUILT_HERE in _inspected("{{.Config.Env}}"):
        return "built here"
    return "pulled from ghcr.io" if IMAGE_ON_GHCR in _inspected("{{.RepoTags}}") else "pulled"


def _inspected(form: str) -> str:
    return output_of(["docker", "image", "inspect", "--format", form, IMAGE]) or ""


def _build() -> None:
    changes = (
        'ENTRYPOINT ["registry"]',
        'CMD ["serve", "/etc/distribution/config.yml"]',
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"ENV {BUILT_HERE}",
        "EXPOSE 5000",
        "VOLUME /var/lib/registry",
    )
    options = [part for change in changes for part in ("--change", change)]
    argv = ["docker", "import", *options, "-", IMAGE]
    with progress(f"making the image {IMAGE}"):
        done = subprocess.run(argv, input=_root_filesystem(), capture_output=True)
    if done.returncode != 0:
        raise SetupError(f"docker import failed: {done.stderr.decode(errors='replace').strip()}")


def _root_filesystem() -> bytes:
    """A tar archive: the server, busybox and its links, certificate authorities, configuration."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder, mode in (("tmp", 0o1777), ("var/lib/registry", 0o755)):
            _add(archive, folder, mode=mode, kind=tarfile.DIRTYPE)
        _add(archive, "bin/registry", server().read_bytes(), mode=0o755)
        _add(archive, "bin/busybox", busybox().read_bytes(), mode=0o755)
        for applet in APPLETS:
            _add(archive, f"bin/{applet}", link="busybox", kind=tarfile.SYMTYPE)
        if AUTHORITIES.exists():
            _add(archive, "etc/ssl/certs/ca-certificates.crt", AUTHORITIES.read_bytes())
        _add(archive, "etc/distribution/config.yml", CONFIG.encode())
        _add(archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    return buffer.getvalue()


def _add(
    archive: tarfile.TarFile,
    name: str,
    content: bytes = b"",
    *,
    mode: int = 0o644,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type, entry.linkname = len(content), mode, kind, link
    archive.addfile(entry, io.BytesIO(content))
