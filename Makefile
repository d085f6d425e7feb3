# make demo: a small real search on this machine. make test: everything that can be tested here.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-isaaclab lint clean

# Torch comes first, so that a CPU build can be chosen: where the package index serves builds with
# CUDA only, several GB, give the CPU build's file or index as TORCH.
TORCH ?= torch==2.13.0

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet $(TORCH)
	$(BIN)/pip install --disable-pip-version-check --quiet \
		--constraint constraints.txt --editable '.[rl,embedded,dev]'
	touch $@

demo: .venv/.ready
	$(BIN)/hpsearch launch --study demo --trials 8 --popsize 4 --budget 45s
	$(BIN)/hpsearch replay --study demo --trial best --seeds 2
	@echo
	@$(BIN)/hpsearch trials --study demo --best-first
	@echo
	@echo "To type next:"
	@echo "  source .venv/bin/activate"
	@echo "  hpsearch dashboard                            # browse it"
	@echo "  hpsearch launch --trials 100 --popsize 10     # a search of full length"
	@echo "  hpsearch db down                              # stop the embedded Postgres"

test: .venv/.ready
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# Isaac Lab 3 in an environment of its own, on the CPU.
test-isaaclab: .venv/.ready
	TORCH="$(TORCH)" tests/isaaclab/install.sh
	ISAACLAB_PYTHON="$(CURDIR)/.venv-isaaclab/bin/python" $(BIN)/python -m pytest tests/isaaclab

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-isaaclab build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
