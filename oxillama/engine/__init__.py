"""The way to the model: one interface, and its implementation over any OpenAI-compatible HTTP server. Used by the runner only."""
