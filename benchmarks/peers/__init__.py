"""Other servers that can keep a state for each client, each in its own environment, with the same graph inside."""
