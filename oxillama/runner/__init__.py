"""The process that executes runs: claims queued ones, asks the engine, and writes what comes back."""
