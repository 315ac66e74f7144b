"""Boot assets of an archive: what talosctl would download, put into its folder."""

import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from host import progress_bar
from ops.archive.staging import compare, copied
from ops.chunks import chunks
from ops.cluster.folder import talos_home
from plan.images import archive
from plan.images.archive import BootAsset
from plan.images.digest import Hashed
from plan.images.storage import STAGING

# As talosctl leaves its downloads: nothing of them is secret.
PROGRAM, FILE = 0o755, 0o644


@contextmanager
def staging(prefix: str) -> Iterator[Path]:
    """A folder for boot assets until all of them are there; export does not look into it."""
    staged = root() / f"{STAGING}-{prefix}"
    shutil.rmtree(staged, ignore_errors=True)  # a killed import left it
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def take(asset: BootAsset, content: IO[bytes], staged: Path) -> None:
    """Write a boot asset into the folder; ArchiveError if its digest is wrong."""
    file = staged / asset.path
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as opened_file:
        compare(asset.digest, copied(content, opened_file))
    file.chmod(PROGRAM if asset.executable else FILE)


def place(assets: Sequence[BootAsset], staged: Path) -> None:
    """Move boot assets that are complete and checked to where talosctl looks for them."""
    for asset in assets:
        target = root() / asset.path
        target.parent.mkdir(parents=True, exist_ok=True)
        # The user may have put the folder on another disk.
        new = target.with_name(f".{target.name}.new")
        shutil.move(staged / asset.path, new)
        new.rename(target)


def root() -> Path:
    """Where talosctl's downloads are, shared by all clusters."""
    return talos_home() / ".talos"


def downloaded() -> tuple[BootAsset, ...]:
    """Every file that talosctl has downloaded, hashed."""
    folder = root()
    files = [
        path
        for name in archive.ASSET_FOLDERS
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]
    stats = {path: path.stat() for path in files}
    with progress_bar.bar("hashing boot assets", sum(s.st_size for s in stats.values())) as bar:
        return tuple(
            BootAsset(
                path=str(path.relative_to(folder)),
                digest=_digest_of(path, bar.update),
                size=of_file.st_size,
                executable=bool(of_file.st_mode & stat.S_IXUSR),
            )
            for path, of_file in stats.items()
        )


def content(asset: BootAsset) -> Iterator[bytes]:
    """The bytes of a file that talosctl has downloaded, in chunks."""
    return _chunks(root() / asset.path)


def _digest_of(path: Path, tell: Callable[[int], object]) -> str:
    hashed = Hashed(_chunks(path))
    for chunk in hashed:
        tell(len(chunk))
    return hashed.digest


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from chunks(file)
