# make sim_train: set up what is missing and run the main job. make test: set up and run all tests.
.DEFAULT_GOAL := help
SHELL := /bin/bash
ENV ?= HalfCheetah-v4
ARGS ?=
JOBS ?= 2
.PHONY: help setup sim_train gym_train record_demos test bench clean

help:  ## show this text
	@grep -E '^[a-z_]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo 'Launch arguments: ARGS="name:=value …"   environment: ENV=HalfCheetah-v4'

setup:  ## set up what is missing (a second call takes seconds)
	@pip_underlay/setup.sh runtime

sim_train: setup  ## train a simulated Franka to pick a cube
	@. ./env.sh && exec ros2 launch sac_bringup sim_train.launch.py $(ARGS)

record_demos: setup  ## show a simulated Franka how to pick a cube, with the keyboard
	@. ./env.sh && exec ros2 launch sac_bringup record_demos.launch.py $(ARGS)

gym_train: setup  ## train in any Gymnasium environment: ENV=Pendulum-v1
	@. ./env.sh && exec ros2 launch sac_bringup gym_train.launch.py env_id:=$(ENV) $(ARGS)

test:  ## set up and run all tests, JOBS=2 files at a time (ARGS goes to pytest)
	@pip_underlay/setup.sh test
	@. ./env.sh && ruff check . && ruff format --check . && mypy && exec python -m pytest --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

bench:  ## run a benchmark: B=learner_speed ARGS=--quick
	@test -f "benchmarks/$(B).py" || { echo "make bench: B= names one of: $$(cd benchmarks && grep -l '^def main' *.py | sed 's/\.py//' | xargs)" >&2; exit 2; }
	@pip_underlay/setup.sh test
	@. ./env.sh && exec python benchmarks/$(B).py $(ARGS)

clean:  ## remove what was built and installed (runs/ stays)
	rm -rf .venv build install log
