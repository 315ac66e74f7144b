"""A real Talos cluster from Go modules and Debian packages, for a machine without any registry.

`python -m tests.real.talos.parts` makes everything that is missing, once per version.
"""

from tests.real.talos.parts.cluster import node_patches
from tests.real.talos.parts.kubernetes import kubectl
from tests.real.talos.parts.upstream import upstream_data

__all__ = ["kubectl", "node_patches", "upstream_data"]
