"""Pulumi resources, and nothing else: no config is read here and nothing is decided."""

from components.cache_set import CacheSet
from components.pull_through_cache import PullThroughCache, PullThroughCacheArgs

__all__ = ["CacheSet", "PullThroughCache", "PullThroughCacheArgs"]
