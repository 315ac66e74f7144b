"""Pulumi resources and nothing else: no config is read and nothing is decided here."""

from components.cache_set import CacheSet
from components.harbor_projects import HarborProjects, may_pull
from components.pull_through_cache import PullThroughCache, PullThroughCacheArgs
from components.talos_cluster import TalosCluster

__all__ = [
    "CacheSet",
    "HarborProjects",
    "PullThroughCache",
    "PullThroughCacheArgs",
    "TalosCluster",
    "may_pull",
]
