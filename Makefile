# The commands of this project. `make` without a target lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# Recipes use the project's folder, so that they work from any folder: make -f elsewhere/Makefile demo
ROOT := $(shell cd "$$(dirname "$(strip $(MAKEFILE_LIST))")" && pwd)
PY := "$(ROOT)/.venv/bin/python"
# Names of files are UTF-8 whatever the locale says.
export PYTHONUTF8 := 1
# Compiled modules are kept, whatever the environment says: each of Airflow's tasks is a process, and would compile anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup tools docs-tools env demo up down mlflow doctor test test-all stack-test kills lint audit sbom docs bench

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' "$(ROOT)/Makefile"

# Each candidate is executed, not only looked up: a pyenv shim on PATH may have no Python behind it.
define set_up
	@for python in "$(PYTHON)" python3 python3.12 python3.11 python; do \
		if [ -n "$$python" ] && "$$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
			>/dev/null 2>&1; then $(if $(EXTRAS),EXTRAS='$(EXTRAS)') exec "$$python" "$(ROOT)/scripts/setup.py" $(1); fi; \
	done; \
	echo "setup: no Python 3.11 or 3.12 was found as python3, python3.12, python3.11 or python." >&2; \
	echo "Install one, or name it: make PYTHON=/path/to/bin/python3.12" >&2; \
	exit 1
endef

setup: ## Create the environment in .venv (instant if it is up to date; EXTRAS="s3 gcs azure hdfs gpu" adds to it)
	$(call set_up)

tools: ## Add the tools of development: for tests, style, types and documentation (test, lint and the like run it)
	$(call set_up,--group dev)

docs-tools:
	$(call set_up,--group docs)

demo: setup ## Run the whole workflow on a small release (RELEASE=<folder> for another one, ARGS= for options)
	@$(PY) "$(ROOT)/scripts/demo.py" $(if $(RELEASE),--release '$(subst ','\'',$(RELEASE))') $(ARGS)

up: setup ## Start Airflow on this machine (PORT=<number> for a port other than 8080)
	@$(if $(PORT),PORT='$(PORT)') $(PY) "$(ROOT)/scripts/local_airflow.py" up

down: ## Stop the Airflow that `make up` started, with all its tasks
	@if [ -x $(PY) ]; then $(PY) "$(ROOT)/scripts/local_airflow.py" down; else echo "No Airflow of this project is running."; fi

# Needs any Python 3 and no environment: a machine that runs the containers may have nothing else.
env: ## Generate the secrets of docker-compose.yaml in .env; values that are set stay
	@python3 "$(ROOT)/scripts/make_env.py"

mlflow: setup ## Show the experiments in MLflow (PORT=<number> for a port other than 5000)
	@$(if $(PORT),PORT='$(PORT)') exec $(PY) "$(ROOT)/scripts/mlflow_pages.py"

doctor: setup ## Check this machine and say what to fix (ARGS=--full checks more)
	@cd "$(ROOT)" && eval "$$($(PY) scripts/local_airflow.py env)"; $(PY) -m ml doctor $(ARGS)

# Three at once on two cores, here and in test-all: tests wait for processes of their own a quarter of their time.
test: tools ## Run the tests that need nothing else (takes minutes)
	@cd "$(ROOT)" && $(PY) -m pytest -n 3 --dist loadfile -m "not cluster and not browser and not slow and not stack and not kills" $(ARGS)

test-all: tools ## Run the other tests: Spark clusters, a browser, whole runs (installs chromium with apt-get)
	@$(PY) "$(ROOT)/scripts/apt_packages.py" chromium
	@cd "$(ROOT)" && $(PY) -m pytest -n 3 --dist loadfile -m "cluster or browser or slow" $(ARGS)

stack-test: tools ## Run the workflow on HDFS and YARN, and on S3, PostgreSQL, MLflow and a Spark cluster (installs them)
	@cd "$(ROOT)" && $(PY) scripts/stack_test.py $(ARGS)

lint: tools ## Check style, imports, types and docker-compose.yaml
	@cd "$(ROOT)" && $(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && $(PY) scripts/compose_check.py

audit: setup ## Compare the locked packages with the known vulnerabilities (security/audit-exceptions.yaml)
	@$(PY) "$(ROOT)/scripts/audit.py" $(ARGS)

sbom: setup ## Write the software bill of materials to var/sbom.json
	@$(PY) "$(ROOT)/scripts/sbom.py" $(ARGS)

kills: tools ## Kill the stages of the flow at random moments, and check that retries recover (KILLS=<number>, default 25)
	@cd "$(ROOT)" && KILLS=$(or $(KILLS),25) $(PY) -m pytest -q -s -n 0 -m kills tests/system/test_random_kills.py $(ARGS)

docs: docs-tools ## Build the documentation site in var/site, and check its pages and links
	@cd "$(ROOT)" && NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict && echo "The site is at var/site/index.html"

bench: tools ## Run a benchmark (BENCH=chips, learning, ...; benchmarks/README.md lists them; by default annotations)
	@$(PY) "$(ROOT)/benchmarks/$(or $(BENCH),annotations).py" $(ARGS)
