"""The Open Inference Protocol with Triton's sequences, for clients that were made for other servers."""
