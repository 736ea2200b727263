"""File formats: safetensors, ``torch.save``, folders of checkpoints, converted models, the Hugging Face cache."""
