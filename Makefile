# What can be made here; each target is one script of ci/, which installs what it needs.

# The stages of each run, in order; one alone: make test STAGE=clippy
TEST = fmt clippy header rust msrv release headers c exports instructions demo decoder system
NIGHTLY = miri asan

.PHONY: help demo build test test-nightly header bench clean
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: ## build the library and run examples/quickstart.c; FILE=path encrypts a file of yours
	@FILE='$(FILE)' ci/stage demo

build: ## target/release/libkms.so, with OpenSSL built in
	@ci/stage release

test: ## every check on stable Rust; STAGE=name runs one (ci/stage lists them)
	@ci/all $(or $(STAGE),$(TEST))

test-nightly: ## Miri and AddressSanitizer on nightly Rust
	@ci/all $(or $(STAGE),$(NIGHTLY))

header: ## write include/kms.h from src/ffi
	@ci/header

bench: ## measure, beside what each is compared with
	@ci/bench

clean: ## remove everything that was built
	@rm -rf target
