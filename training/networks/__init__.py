"""The networks: pure functions of input and state, written so that the exported graph is cheap."""
