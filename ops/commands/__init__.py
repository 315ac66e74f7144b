"""One module for each day-two command, with what only commands use."""
