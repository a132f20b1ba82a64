"""Servers that speak the OpenAI protocol: settings, pace, retries, failures."""
