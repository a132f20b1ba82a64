"""Tables, ids, digests, stores, configuration and encoders: what every other part shares."""
