"""Runs the whole program, __main__.py, with fakes of what it looks up outside of itself."""

import runpy

import pulumi
import pytest

from host.paths import ROOT
from ops import ending
from ops.harbor import drift
from ops.stack.preflight import Host
from tests.unit.components.engine import run
from tests.unit.plan.shapes import as_the_engine_hands_it_over

CREDENTIALS = {"docker.io": {"username": "alice", "password": "hunter2"}}
CLUSTER_CONFIG = {"cluster": {"name": "dev", "workers": 2, "cidr": "10.9.0.0/24"}}


class Outside:
    """Fakes of what the program looks up itself; a test sets the results."""

    def __init__(self):
        self.in_the_way = []
        self.containers = ()
        self.report = None
        self.us = None
        self.recorded = None
        self.probed = []
        self.seen = drift.Look()
        self.looked = []
        self.access_report = None
        self.mirrors = []

    def look(self):
        return Host(containers=self.containers, is_local=True)

    def preflight_errors(self, host, plans, clusters, recorded, us):
        self.recorded, self.us = recorded, us
        self.clusters = clusters
        if isinstance(self.in_the_way, Exception):
            raise self.in_the_way
        return self.in_the_way

    def not_ready(self, plans, warn):
        self.probed.append([plan.host for plan in plans])
        return self.report

    def look_at_harbor(self, plan, recorded):
        self.looked.append((plan, recorded))
        return self.seen

    def may_pull(self, harbor, mirrors, warn):
        self.mirrors.append(mirrors)
        return self.access_report


def program():
    """Run it. If it exits with a message for the user, that is raised as a `RunError`."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending.signal, "signal", lambda number, handler: None)  # pytest's own stay
        patch.setattr(pulumi.log, "error", told.append)
        try:
            runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
        except SystemExit as end:
            (text,) = told
            raise {ending.TOLD: pulumi.RunError}[end.code](text) from None


def run_with(config=None, secret_keys=("talos-cache:credentials",), **options):
    """The program on this configuration; `talos-cache:` may be left out in its keys."""
    texts = as_the_engine_hands_it_over(config or {})
    named = {key if ":" in key else f"talos-cache:{key}": text for key, text in texts.items()}
    return run(program, config=named, secret_keys=list(secret_keys), **options)
