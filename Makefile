.PHONY: serve test lint format

# Web, runner and embedded engine, kept alive by one process manager. Settings: see the table in README.md.
serve:
	@scripts/setup
	@exec .venv/bin/python -m oxillama

test:
	@scripts/setup dev
	.venv/bin/python -m pytest

lint:
	@scripts/setup dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format:
	@scripts/setup dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
