# SPDX-License-Identifier: GPL-3.0-or-later
# The doors of this checkout; TESTING.md says more about each. `make` prints this list.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# .venv is remade when a requirement or the checkout's place changes.
VENV_KEY := $(shell { pwd; cat requirements/python.txt requirements/constraints.txt tests/tools/venv; } | sha256sum | cut -c1-16)
VENV := .venv/.ready-$(VENV_KEY)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Ansible wants UTF-8, and tools are to say the same everywhere.
export LC_ALL := C.UTF-8

# One collection path for all tools that do not read ansible.cfg.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.venv/collections

help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*##' '{ printf "  make %-13s %s\n", $$1, $$2 }'

demo: system $(VENV)  ## install what is missing, boot the lab, deploy the web cluster, show it working
	@tests/demo/demo

test:  ## every test, but for the scenarios that TESTING.md names
	@tests/tools/test-all

check: lint units  ## the fast part: lint and units

lint: $(VENV)  ## formats, types, YAML, roles and playbooks
	@tests/tools/lint

units: system $(VENV)  ## unit tests (ARGS="-k plan" chooses)
	@pytest -q --numprocesses=auto tests/unit $(ARGS)

sanity: $(VENV)  ## ansible-test sanity, without containers
	@tests/sanity/run $(ARGS)

package: $(VENV)  ## build the collection, install it elsewhere, read its documentation
	@tests/sanity/package

browser: system $(VENV)  ## the status page in headless Chromium
	@pytest -q tests/browser $(ARGS)

kernel: system $(VENV)  ## library and modules against real kernels (KERNEL=6.12, ARGS="-k weight")
	@tests/kernel/run --kernel $(or $(KERNEL),all) $(ARGS)

kernel-soak: system $(VENV)  ## the same with many more generated tables
	@tests/kernel/run --kernel $(or $(KERNEL),all) --soak $(ARGS)

molecule: system $(VENV)  ## every scenario in the lab, or some on one lab: SCENARIO="nat operations"
	@tests/tools/scenarios $(SCENARIO)

fleet: system $(VENV)  ## playbooks over simulated directors: what a run costs, drift, adoption
	@tests/kernel/run --kernel $(or $(KERNEL),6.12) --timeout 1800 --apart $(ARGS) tests/fleet/test_*.py

# Each has its place in the file. The lab is taken as it is when it has just come up, and has nothing else to do.
INTO_BENCHMARKS = env PYTHONPATH=.venv/collections tests/kernel/bench.py --into docs/benchmarks.md
bench: system $(VENV)  ## how long big tables take, in user-mode Linux and on a host of the lab, which it takes fresh
	@tests/kernel/run --kernel $(or $(KERNEL),6.12) --timeout 1800 --bench $(ARGS) | $(INTO_BENCHMARKS)
	@tests/lab/lab up --fresh
	@tests/kernel/run --lab lb1 --bench $(ARGS) | $(INTO_BENCHMARKS)
	@env PYTHONPATH=.venv/collections tests/kernel/bench.py --tasks lb1 | $(INTO_BENCHMARKS)
	@tests/lab/lab down

bench-fleet: system $(VENV)  ## how a rollout grows with directors and services, in some ten minutes
	@tests/kernel/run --kernel $(or $(KERNEL),6.12) --timeout 14400 --command '.venv/bin/python tests/fleet/bench.py $(ARGS)' \
	    | $(INTO_BENCHMARKS)

lab-up: system $(VENV)  ## boot the lab, or restore it from its snapshot
	@tests/lab/lab up

lab-down: $(VENV)  ## stop the lab
	@tests/lab/lab down

system:  ## install missing system packages by apt (the list is printed first)
	@tests/tools/system

venv: $(VENV)  ## make .venv from requirements/*.txt
$(VENV):
	@tests/tools/venv $@

venv-freeze:  # after a change in python.txt, by hand: the newest tree below it
	@tests/tools/venv-freeze

clean:  ## stop the lab and remove .venv and all caches of this checkout
	@if [ -x .venv/bin/python ] && [ -x tests/lab/lab ]; then tests/lab/lab down; fi
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible tests/output lvs-ipvs-*.tar.gz
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help demo test check lint units sanity package browser kernel kernel-soak fleet molecule bench bench-fleet lab-up lab-down system venv venv-freeze clean
