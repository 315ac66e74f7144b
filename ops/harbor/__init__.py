"""Harbor as the caching registry: its projects, the images in it, and how it is filled."""
