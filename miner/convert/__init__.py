"""The verb `convert`: any format in, any format out, and a card of what came of it."""
