# Two commands do everything on a machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3

.PHONY: demo test clean
demo: .venv/demo
	.venv/bin/synpose demo

test: .venv/test
	scripts/check
	scripts/audit
	scripts/make-site
	scripts/check-page
	scripts/test-wheel
	scripts/test
	scripts/with-docker scripts/test-compose

# What each command needs is installed once, and again when pyproject.toml changes.
.venv/demo: pyproject.toml
	scripts/install "$(PYTHON)" server,cpu,demo
	@touch $@

.venv/test: pyproject.toml
	scripts/install "$(PYTHON)" server,cpu,demo,train,datasets,formats,notebook,docs,ray,dev
	@touch $@ .venv/demo

clean:
	rm -rf .venv demo-output build dist site
