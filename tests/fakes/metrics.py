"""The part of a registry's metrics that is read; tests/unit/plan/traffic has recorded ones."""

NAMES = ("hits", "misses", "pulled_bytes", "pushed_bytes")


def metrics(*, blob_pulled=0):
    """Metrics of a cache that has fetched so many bytes of blobs, and nothing else."""
    values = dict.fromkeys(((name, kind) for name in NAMES for kind in ("blob", "manifest")), 0)
    values["pulled_bytes", "blob"] = blob_pulled
    lines = [
        f'registry_proxy_{name}_total{{type="{kind}"}} {value}'
        for (name, kind), value in values.items()
    ]
    return "\n".join(["process_start_time_seconds 1.7e+09", *lines, ""])
