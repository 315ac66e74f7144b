"""Where a stack's images are, behind one interface: the caches of this machine, or Harbor."""
