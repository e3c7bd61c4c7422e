"""The way to the model: one interface, and its implementation over any OpenAI-compatible HTTP server. Used by the runner only.

Nothing is imported here: `openai` costs most of a second, and the web workers must be able to read `oxillama.engine.interface` without it.
"""
