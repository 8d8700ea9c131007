"""Trains the networks that Tapehead serves, measures them and exports them as bundles."""
