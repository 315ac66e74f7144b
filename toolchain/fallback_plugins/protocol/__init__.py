"""The engine's plugin protocol, as far as fallback plugins need it."""
