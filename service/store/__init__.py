"""Where sessions are kept: one law, in `base`, and the stores that obey it."""
