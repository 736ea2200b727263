"""BERT's WordPiece tokenizer. Imports no NumPy."""
