"""What day-two commands do with Docker: its API, the caches' volumes, containers for one look."""
