"""The relabelling cascade: who judges pairs, what is done about false negatives."""
