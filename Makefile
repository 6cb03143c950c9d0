# Each of these sets everything up on a fresh machine: `make demo`, `make quick`, `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
WORKERS ?= 2
SPREAD := -n $(WORKERS) --dist loadfile --max-worker-restart=0

.PHONY: demo demo-line quick test lint types benchmarks clean

# 0.85 is below the threshold that ships (0.9205): it finds more and raises more false alarms, so there is more to see.
demo: $(INSTALLED)
	$(BIN)/steer-anomaly inspect docs/samples/surfaces --object surface --threshold 0.85 --out demo-out/surfaces
	$(BIN)/steer-anomaly inspect docs/samples/parts --object part --threshold 0.85 --out demo-out/parts
	$(BIN)/steer-anomaly calibrate docs/samples/flanges/good --object flange --false-alarms 10% --out demo-out/flange.profile --overwrite
	$(BIN)/steer-anomaly inspect --profile demo-out/flange.profile docs/samples/flanges/test --out demo-out/flanges
	@echo "open $(CURDIR)/demo-out/surfaces/report.html"
	@echo "open $(CURDIR)/demo-out/parts/report.html"
	@echo "open $(CURDIR)/demo-out/flanges/report.html  (calibrated: it states how many false alarms there are at most)"

# A service with a page, calibrated on sample flanges; others are posted to it. Ctrl-C ends it.
demo-line: $(INSTALLED)
	$(BIN)/python docs/samples/line.py --out demo-out/line

# No processes, no training: under a minute.
quick: $(INSTALLED)
	$(BIN)/python -m pytest -q $(SPREAD) -m "not slow"

test: $(INSTALLED)
	$(BIN)/python -m pytest -q $(SPREAD)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

benchmarks: $(INSTALLED)
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/ensemble.py
	$(BIN)/python benchmarks/nano_threshold.py
	$(BIN)/python benchmarks/nano_text.py --scenes 100
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/train_step.py --recipe nano

# A virtual environment of its own; a torch that is already in it is kept.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info demo-out steer-anomaly-out
