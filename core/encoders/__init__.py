"""Encoders beside sentence-transformers: ONNX Runtime, a function, ready vectors, a server."""
