"""What nodes have pulled through the caches, by the logs and counters of these."""
