"""Coverage-guided fuzzing. Not part of `make test`: `make fuzz`, for FUZZ_SECONDS each."""
