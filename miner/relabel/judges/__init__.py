"""The judges: a chat server, a local language model, a cross-encoder, a table."""
