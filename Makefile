.PHONY: serve test test-compat lint format

# Web, runner and embedded engine, kept alive by one process manager. Settings: see the table in README.md.
serve:
	@scripts/setup
	@exec .venv/bin/python -m oxillama

test:
	@scripts/setup dev
	.venv/bin/python -m pytest

# Other people's software against this server: SDKs of several years and languages, and frameworks. Needs Node.js 20 or later and npm.
test-compat:
	@scripts/setup dev
	@scripts/setup compat
	.venv/bin/python -m pytest tests/compat -m ""

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
