"""What a stack has in Harbor, and the steps from what is there to that. Pure."""
