"""What a request may say: one schema for each body and query, and `loading.load`, which turns one into values ready to be stored."""
