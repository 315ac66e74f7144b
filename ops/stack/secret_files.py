"""A stack's private files on this machine, except those of its clusters.

The caches' certificates, and the password of the account with which nodes pull from Harbor. They
are in the user's state folder, readable by the user only, and `make down` removes them.
"""

import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from host.private_files import private_folder, write_private
from ops.cluster.folder import states_of
from plan.caches import tls
from plan.caches.addressing import Addressing
from plan.caches.tls import ServerCertificate
from plan.harbor.desired import is_robot_secret
from plan.harbor.from_settings import needs_robot
from plan.problems import Problem, SettingsError
from plan.settings.stack import Settings

if TYPE_CHECKING:
    from ops.tls import user_certificate

# Names that no cluster can have: the clusters' folders are beside these.
CERTIFICATES = ".certificates"
ROBOT = ".harbor-robot"


def server_certificate(
    stack: str, settings: Settings, where: Addressing, texts: Mapping[str, str]
) -> ServerCertificate | None:
    """The certificate of the caches; created here if the stack names none. None without TLS.

    Args:
        stack: name of the stack.
        settings: of the stack.
        where: the caches listen.
        texts: content of every file that the stack names.

    Raises:
        SettingsError: the certificate that the stack names can't be used.
        OpsError: what was created here before can't be read.
    """
    if not settings.cache.tls:
        return None
    names = tls.names(where)
    if certificate := tls.given(settings, texts):
        _check(certificate, names)
        return certificate
    # It takes a tenth of a second to import, and few stacks need it.
    from ops.tls import own_ca

    material = own_ca.ensure(_certificates(stack), names, _now())
    return ServerCertificate(
        certificate=material.server_pem, key=material.server_key, ca=material.ca_pem
    )


def _check(certificate: ServerCertificate, names: Sequence[str]) -> None:
    from ops.tls import user_certificate

    faults = user_certificate.faults(
        certificate.certificate, certificate.key, certificate.ca, names, _now()
    )
    for fault in (fault for fault in faults if fault.only_warns):
        print(f"cache.{fault.part}: {fault.found}: {fault.fix}", file=sys.stderr)
    if problems := tuple(_problem(fault) for fault in faults if not fault.only_warns):
        raise SettingsError(problems)


def _problem(fault: "user_certificate.Fault") -> Problem:
    return Problem(path=f"cache.{fault.part}", found=fault.found, rule=fault.rule, fix=fault.fix)


def robot_secret(stack: str, settings: Settings) -> str:
    """Password of the account that this stack creates in Harbor; empty if it creates none."""
    if not needs_robot(settings):
        return ""
    path = states_of(stack) / ROBOT
    for folder in (path.parent.parent, path.parent):
        private_folder(folder)
    if kept := kept_robot_secret(stack):
        return kept
    # By chance it may be missing a kind of character that Harbor requires.
    while not is_robot_secret(secret := secrets.token_urlsafe(24)):
        continue
    write_private(path, secret)
    return secret


def kept_robot_secret(stack: str) -> str:
    """The same, if it has been made already; otherwise empty."""
    try:
        return (states_of(stack) / ROBOT).read_text()
    except FileNotFoundError:
        return ""


def remove(stack: str) -> None:
    """Remove all of them, and the folders above that are then empty."""
    folder = states_of(stack)
    if _certificates(stack).exists():
        shutil.rmtree(_certificates(stack))
    (folder / ROBOT).unlink(missing_ok=True)
    for path in (folder, folder.parent):
        if path.exists() and not any(path.iterdir()):
            path.rmdir()


def _certificates(stack: str) -> Path:
    return states_of(stack) / CERTIFICATES


def _now() -> datetime:
    return datetime.now(timezone.utc)
