"""The official schema of the Assistants API v2, and the means to hold every answer of the server against it."""
