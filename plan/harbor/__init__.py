"""What a stack needs in Harbor, and the steps that get Harbor there. Pure."""
