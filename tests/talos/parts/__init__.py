"""A real Talos cluster from Go modules and Debian packages, for a machine without any registry.

`python -m tests.talos.parts` makes everything that is missing, once per version.
"""

from tests.talos.parts.cluster import node_patches
from tests.talos.parts.kubernetes import kubectl
from tests.talos.parts.upstream import upstream_data

__all__ = ["kubectl", "node_patches", "upstream_data"]
