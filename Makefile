# The commands of this project. STACK=name chooses the stack (default: docker).
# `make demo` and `make test` do all the set-up themselves.

PYTHON ?= python3
STACK ?= docker
VENV_PYTHON = .work/venv/bin/python

# Runs the set-up, takes over the variables it prints, and stops where it fails.
ENTER = exports="$$($(PYTHON) -m toolchain setup --stack '$(STACK)' $(1))" && eval "$$exports"

.PHONY: help demo test setup up preview down outputs stack check plan-tests e2e bench clean

help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## The main job on an embedded default: caches up, filled, upstream unplugged, proved (KEEP=1 keeps it)
	@$(call ENTER,--for demo) && $(VENV_PYTHON) -m demo $(if $(KEEP),--keep)

test: ## Every tier of tests, set-up included
	@$(call ENTER,--dev --for test) && $(VENV_PYTHON) -m tests.tiers

setup: ## Install what is missing; prints the lines that make plain pulumi work: eval "$$(make -s setup)"
	@$(PYTHON) -m toolchain setup --stack '$(STACK)'

up: ## Bring up the caches of STACK
	@$(call ENTER,) && $(VENV_PYTHON) -m ops up --stack '$(STACK)'

preview: ## What `make up` would change
	@$(call ENTER,) && $(VENV_PYTHON) -m ops preview --stack '$(STACK)'

down: ## Remove the caches of STACK; the volumes with the cached images stay
	@$(call ENTER,) && $(VENV_PYTHON) -m ops down --stack '$(STACK)'

outputs: ## Endpoints, machine config patches and the talosctl line of STACK
	@$(call ENTER,) && $(VENV_PYTHON) -m ops outputs --stack '$(STACK)'

stack: ## A stack of your own: make stack NAME=mine FROM=docker
	@exports="$$($(PYTHON) -m toolchain setup --stack '$(NAME)')" && eval "$$exports" && \
	  $(VENV_PYTHON) -m ops new-stack --name '$(NAME)' --from '$(or $(FROM),docker)'

check: ## Format, lint and types, as make test runs them
	@$(call ENTER,--dev) && $(VENV_PYTHON) -m tests.tiers --only check

bench: ## How fast, against the guide's docker run loop
	@$(call ENTER,--dev) && $(VENV_PYTHON) -m bench

clean: ## Remove this checkout's tools and state; refuses while a stack still has resources
	@$(PYTHON) -m toolchain clean
