"""The model: configuration, names and dtypes of the tensors, forward pass, heads."""
