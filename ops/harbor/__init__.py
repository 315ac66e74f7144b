"""Harbor as the caching registry: what is made there, what it holds, and how it is filled."""
