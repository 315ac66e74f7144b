"""Images: how they are named, stored by a registry, chosen and archived. Pure."""
