# The commands of this project. STACK=name chooses the stack (default: docker).
# `make demo` and `make test` do all the set-up themselves.

PYTHON ?= python3
STACK ?= docker
VENV_PYTHON = .work/venv/bin/python

# Runs the set-up, takes over the variables it prints, and stops where it fails.
ENTER = exports="$$($(PYTHON) -m toolchain setup --stack '$(STACK)' $(1))" && eval "$$exports"

# A tier of tests, and what Docker is set up for; APART=1 runs it on a Docker of its own (needs root).
TIER = $(call ENTER,--dev --for $(if $(APART),engines,$(2))) && \
  $(VENV_PYTHON) -m tests.tiers --only $(1) $(if $(APART),--apart) $(3)

OPS = $(call ENTER,) && $(VENV_PYTHON) -m ops $@ --stack '$(STACK)' $(ARGS)

.PHONY: help demo test test-caches test-offline test-private test-engines test-talos parts setup up preview down cluster-up cluster-down outputs stack status list logs purge warm verify repair export import prune ledger adopt doctor check plan-tests e2e bench clean

help: ## What there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## The main job on an embedded default: caches up, filled, upstream unplugged, proved (KEEP=1 keeps it)
	@$(call ENTER,--for demo) && $(VENV_PYTHON) -m demo $(if $(KEEP),--keep)

test: ## The quick tiers of tests, set-up included
	@$(call ENTER,--dev --for test) && $(VENV_PYTHON) -m tests.tiers

setup: ## Install what is missing; prints the lines that make plain pulumi work: eval "$(make -s setup)"
	@$(PYTHON) -m toolchain setup --stack '$(STACK)'

test-caches: ## Caches that change, break, move and are shared; the fallback plugins; APART=1: on a Docker of its own
	@$(call TIER,caches,test)

test-offline: ## Upstreams that go away, damaged blobs, full disks, archives carried to a machine without network
	@$(call TIER,offline,test)

test-private: ## Private upstreams, TLS and logins of caches, Harbor
	@$(call TIER,private,test)

test-engines: ## Containers made, changed and read by another Docker than this machine's, on both of its image stores
	@$(call TIER,engines,engines)

test-talos: ## Real talosctl, real Talos nodes, a real Kubernetes cluster (cold: builds them all first); HALF=1 or HALF=2: half of it
	@$(call TIER,talos,talos,$(if $(HALF),--half $(HALF)))

parts: ## Build ahead what make test-talos builds first: Talos, containerd, Kubernetes
	@$(call ENTER,--dev --for engines) && $(VENV_PYTHON) -m tests.real.talos.parts

up: ## Bring up the caches, and the clusters, of STACK; it asks nothing, preview shows what it would do
	@$(call ENTER,) && $(VENV_PYTHON) -m ops up --stack '$(STACK)'

preview: ## What `make up` would change
	@$(call ENTER,) && $(VENV_PYTHON) -m ops preview --stack '$(STACK)'

down: ## Remove clusters and caches of STACK; the volumes with the cached images stay
	@$(call ENTER,) && $(VENV_PYTHON) -m ops down --stack '$(STACK)'

cluster-up: ## Make the cluster of STACK (and what else is missing)
	@$(call ENTER,) && $(VENV_PYTHON) -m ops cluster-up --stack '$(STACK)'

cluster-down: ## Remove only the cluster of STACK, or CLUSTER=name of several; the caches stay
	@$(call ENTER,) && $(VENV_PYTHON) -m ops cluster-down --stack '$(STACK)' --cluster '$(CLUSTER)'

outputs: ## Endpoints, machine config patches and the talosctl line of STACK; ARGS=name: one alone
	@$(OPS)

stack: ## A stack of your own: make stack NAME=mine FROM=docker
	@exports="$$($(PYTHON) -m toolchain setup --stack '$(NAME)')" && eval "$$exports" && \
	  $(VENV_PYTHON) -m ops new-stack --name '$(NAME)' --from '$(or $(FROM),docker)'

status: ## What each cache of STACK does and saves: ARGS=--watch, --json, --markdown
	@$(OPS)

logs: ## The requests to the caches, hit or miss: ARGS='docker.io --since 10m --misses --follow'
	@$(OPS)

list: ## The images in the caches: ARGS='docker.io --unused-since 30d --sort size'
	@$(OPS)

purge: ## Remove single images: ARGS='docker.io/library/busybox:1.36'; --yes does it
	@$(OPS)

warm: ## Fill the caches of STACK: ARGS='--images images.txt', or --talos, --cluster, --nodes
	@$(OPS)

verify: ## Prove that images are complete in the caches (ARGS='--images images.txt --deep')
	@$(OPS)

repair: ## Remove damaged blobs and fetch them again
	@$(OPS)

export: ## Images, the registry and boot assets into one archive: ARGS=talos.tar.zst
	@$(OPS)

import: ## An archive into the caches' volumes: ARGS=talos.tar.zst
	@$(OPS)

prune: ## Make the caches smaller: ARGS='--to 20GB --keep images.txt'; --yes does it
	@$(OPS)

ledger: ## Note when each image was last used
	@$(OPS)

adopt: ## Take over caches that another state made: containers go, volumes stay; then make up
	@$(OPS)

doctor: ## What is sick in STACK, and what to do
	@$(OPS)

check: ## Format, lint and types, as make test runs them
	@$(call ENTER,--dev) && $(VENV_PYTHON) -m tests.tiers --only check

plan-tests: ## The pure decisions alone: a few seconds, 100 % of branches
	@$(call ENTER,--dev) && $(VENV_PYTHON) -m tests.tiers --only plan

e2e: ## The real engine and real Docker alone
	@$(call TIER,e2e,test)

bench: ## How fast, against the guide's docker run loop
	@$(call ENTER,--dev) && $(VENV_PYTHON) -m bench

clean: ## Remove this checkout's tools and state; refuses while a stack still has resources
	@$(PYTHON) -m toolchain clean
