# Pensieve's front door.  Each target does all of its own set-up and can be run again at any time;
# the work is in tools/, one short script per thing.
.DEFAULT_GOAL := all
.PHONY: all release run test asan tsan format lint install clean setup help

PREFIX ?= /usr/local
ARGS ?=

all release: ## build the program: build/release/pensieve
	@tools/setup run
	@tools/build release

run: ## everything up to a running server (ARGS='--port 7778' goes to pensieve serve)
	@tools/run $(ARGS)

test: ## everything for the tests, and all of them
	@tools/test

asan: ## build/asan, and the tests without weights under Address- and UndefinedBehaviorSanitizer
	@tools/test-sanitized asan

tsan: ## build/tsan, and the same under ThreadSanitizer
	@tools/test-sanitized tsan

format: ## lay out all C and C++ files (clang-format, pinned)
	@tools/format

lint: ## the checks that need no build: layout, layers, lengths, text, scripts
	@tools/lint

install: ## install the program (PREFIX=/usr/local, DESTDIR=); builds only what is not built yet
	@tools/install "$(PREFIX)"

setup: ## install missing system packages only
	@tools/setup test

clean: ## remove build/; fetched sources and built dependencies stay in the cache folder
	rm -rf build

help: ## this text
	@sed -n 's/^\([a-z ]*\):.*## /\1|/p' Makefile | \
	    while IFS='|' read -r target text; do printf '  make %-12s %s\n' "$$target" "$$text"; done
