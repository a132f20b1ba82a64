"""Pure loss estimators: logits of positives and negatives in, losses of rows out."""
