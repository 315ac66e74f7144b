"""What holds a stack's images, behind one interface: the caches of this machine, or Harbor."""
