.PHONY: serve test test-crashes test-compat test-generated test-races test-enemies fuzz soak bench lint format

# Web, runner and embedded engine, kept alive by one process manager. Settings: see the table in README.md.
serve:
	@scripts/setup
	@exec .venv/bin/python -m oxillama

test:
	@scripts/setup dev
	.venv/bin/python -m pytest

# All points of the sweeps, of which `make test` tries some; see CONTRIBUTING.md.
test-crashes:
	@scripts/setup dev
	CRASH_SWEEP=whole .venv/bin/python -m pytest tests/crashes

# Other requests each time; GENERATED_REQUESTS=100000 sends more of them.
test-generated:
	@scripts/setup dev
	GENERATED_REQUESTS=$${GENERATED_REQUESTS:-10000} .venv/bin/python -m pytest tests/contract/test_generated.py --hypothesis-show-statistics
	HOSTILE_SCHEMAS=$${HOSTILE_SCHEMAS:-200} .venv/bin/python -m pytest tests/engine/test_hostile_schemas.py

# Other orders each time; RACES=100 tries twice as many of them.
test-races:
	@scripts/setup dev
	RACES=$${RACES:-50} .venv/bin/python -m pytest tests/races

# The whole server under 32 hostile clients and 8 good ones, for two minutes.
test-enemies:
	@scripts/setup dev
	ENEMY_SECONDS=$${ENEMY_SECONDS:-120} .venv/bin/python -m pytest tests/enemies -rP

# Other people's software against this server: SDKs of several years and languages, and frameworks. Needs Node.js 20 or later and npm.
test-compat:
	@scripts/setup dev
	@scripts/setup compat
	.venv/bin/python -m pytest tests/compat -m ""

# What the server costs, as ratios against references of the same run (about eight minutes); see bench/RESULTS.md.
bench:
	@scripts/setup bench
	.venv/bin/python -m bench

# Coverage-guided: any request to the application, any bytes in the files of a thread. FUZZ_SECONDS each; found inputs go to .fuzz.
fuzz:
	@scripts/setup dev
	.venv/bin/python -m pip install -qq --disable-pip-version-check -r tests/fuzz/requirements.txt
	mkdir -p .fuzz/requests .fuzz/store
	for kind in requests store; do .venv/bin/python -m tests.fuzz.fuzz_$$kind .fuzz/$$kind -artifact_prefix=.fuzz/$$kind- \
	    -max_total_time=$${FUZZ_SECONDS:-300} -max_len=2000 -timeout=60 || exit 1; done

# The whole program under load while its processes are killed, then an audit of every write that was acknowledged.
soak:
	@scripts/setup dev
	.venv/bin/python -m tests.stress --minutes $${SOAK_MINUTES:-10}

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
