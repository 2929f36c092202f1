# Windmail's commands; `make` alone lists them. Each one does the set-up that it needs.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)) python3)
BIN := .venv/bin
# Stamps: files that are newer than what was installed, so that a second run costs nothing.
RUNTIME := .venv/runtime.stamp
DEV := .venv/dev.stamp
BENCH := bench/.venv/stamp
EXPORT_USER ?= windmail
comma := ,
# Each process has a broker, a worker and a server of its own; the slow files come first as it is.
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run migrate key dead broker-users test bench chaos chaos-smoke attack check format lock clean export-supervisor export-systemd

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV) ## make .venv and install everything pinned in requirements*.txt

run: $(RUNTIME) ## start the whole system in the foreground; Ctrl-C stops it
	@$(BIN)/python -m dev.run

migrate: $(RUNTIME) ## bring the ledger's tables (DATABASE_URL) up to date; needed before a start by hand
	@$(BIN)/python -m dev.migrate

key: $(RUNTIME) ## list the API keys; ARGS="create --name=shop --scope=send", or update, rotate, revoke with an ID
	@$(BIN)/python keys.py $(or $(ARGS),list)

dead: $(RUNTIME) ## list the dead letters; ARGS="replay ID", ARGS="replay --all", ARGS="discard ID"
	@$(BIN)/python dead.py $(or $(ARGS),list)

broker-users: $(RUNTIME) ## make RabbitMQ users with the least permissions; ARGS="--rabbitmqctl='docker compose exec -T rabbitmq rabbitmqctl'"
	@$(BIN)/python broker_users.py $(ARGS)

test: $(DEV) ## run all tests; installs RabbitMQ, PostgreSQL, PgBouncer, Chromium, openssl and curl where missing
	@$(BIN)/python -m dev.packages rabbitmq postgresql pgbouncer chromium openssl curl
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

bench: $(BENCH) ## measure speed beside similar systems, into bench/results; ARGS="--quick", ARGS="accept mails"
	@bench/.venv/bin/python -m dev.packages rabbitmq wrk postfix
	@bench/.venv/bin/python -m bench $(ARGS)

chaos: $(DEV) ## run a fault campaign; ARGS="--seed 1 --minutes 60"; in full: ARGS="--kills 200 --accepted 300000 --minutes 1440"
	@$(BIN)/python -m dev.packages rabbitmq
	@$(BIN)/python -m chaos $(ARGS)

chaos-smoke: $(DEV) ## run a fault campaign of two minutes, as the tests do
	@$(BIN)/python -m dev.packages rabbitmq
	@$(BIN)/python -m pytest tests/integration/test_chaos_smoke.py

attack: $(DEV) ## attack the whole system; ARGS="--smoke", ARGS="mails http", ARGS="--postgres"
	@$(BIN)/python -m dev.packages rabbitmq slowhttptest
	@$(BIN)/python -m attack $(ARGS)

check: $(DEV) ## run ruff, mypy --strict, the layering's test, bandit, pip-audit
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_layering.py
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive .
	@$(BIN)/python -m dev.audit requirements.txt requirements-dev.txt bench/requirements.txt

format: $(DEV) ## format and fix the code with ruff
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# uv ignores pip's settings, so the hashes are those of the public registry.
COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-config --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(DEV) ## pin the newest allowed versions, with hashes, in requirements*.txt
	@$(COMPILE) requirements.in -o requirements.txt
	@$(COMPILE) -c requirements.txt requirements-dev.in -o requirements-dev.txt
	@$(COMPILE) -c requirements.txt bench/requirements.in -o bench/requirements.txt

# One process of each kind, but no mailbox, which is for development. Settings stay in .env.
EXPORT = umask 077 && $(BIN)/honcho export --env /dev/null --app windmail --user $(EXPORT_USER) --port 8888 \
	--concurrency mailbox=0$(if $(PROCESSES),$(comma)$(PROCESSES))

export-supervisor: $(RUNTIME) ## write a supervisor configuration to var/export/supervisor
	@rm -rf var/export/supervisor
	@$(EXPORT) --template-dir deploy/supervisor supervisord var/export/supervisor

export-systemd: $(RUNTIME) ## write systemd units to var/export/systemd
	@rm -rf var/export/systemd
	@$(EXPORT) --template-dir deploy/systemd systemd var/export/systemd
	@cp deploy/systemd/*.socket var/export/systemd/

clean: ## remove .venv and caches; var/ (mails, queues) stays
	rm -rf .venv bench/.venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(RUNTIME): requirements.txt dev/venv.py
	@$(PYTHON) dev/venv.py .venv requirements.txt
	@touch $@

$(DEV): requirements-dev.txt $(RUNTIME)
	@$(PYTHON) dev/venv.py .venv requirements-dev.txt
	@touch $@

$(BENCH): bench/requirements.txt dev/venv.py
	@$(PYTHON) dev/venv.py bench/.venv bench/requirements.txt
	@touch $@
