# Shortcuts for people who have `just`; everything here is one plain command, and nothing needs it.

# List the shortcuts.
default:
    @just --list

# Make the environment: the locked tools and the package itself, editable.
setup:
    python3 -m venv .venv
    .venv/bin/pip install --quiet -r requirements-dev.lock
    .venv/bin/pip install --quiet --no-deps --no-build-isolation -e .

# Every check that CI makes; also on a fresh Debian machine.
ci:
    bash .ci/run

# The checks that take seconds.
check:
    .venv/bin/ruff check
    .venv/bin/ruff format --check
    .venv/bin/mypy
    .venv/bin/lint-imports --no-logo
    .venv/bin/pytest -q tests/test_tidy.py tests/test_patterns.py

# All tests, or those you name.
test *arguments:
    .venv/bin/pytest {{arguments}}

# Run all tests and write docs/promises.md.
promises:
    .venv/bin/pytest -q --write-promises

# The figures of bench/RESULTS.md, on this machine.
bench *arguments:
    .venv/bin/python -m bench.run {{arguments}}

# Backlogs, storms of retries, too much load, mixed faults, a soak: `just endure storm --scale 0.1`.
endure *arguments:
    .venv/bin/python -m bench.endure {{arguments}}

# Lock the newest versions that pyproject.toml allows; needs pip-tools.
lock:
    .venv/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['dev'], sep='\n')" \
      | .venv/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --annotation-style line --no-header \
        --no-emit-index-url --no-emit-find-links --no-emit-options --output-file requirements-dev.lock pyproject.toml -

# Lock what the image brings: the package with its extras, in the versions that are tested; needs pip-tools.
lock-image:
    .venv/bin/pip-compile --quiet --generate-hashes --strip-extras --annotation-style line --no-header \
      --no-emit-index-url --no-emit-find-links --no-emit-options --constraint requirements-dev.lock \
      --extra encryption --extra oidc --extra otel --output-file requirements.lock pyproject.toml

# Worlds of the simulation: `just simulate --seeds 10000`, `just simulate --seed 4711`; see docs/simulation.md.
simulate *arguments:
    .venv/bin/python -m tests.simulation {{arguments}}

# Cut the power at every write of two runs (`--all`), or of those you name; the tests make a sample of the cuts.
power-cuts *arguments:
    .venv/bin/python -m tests.crash.power_cuts {{arguments}}

# Let several faults strike a server together: `just swarm --seeds 100`, `just swarm --seed 17`.
swarm *arguments:
    .venv/bin/python -m tests.crash.swarm {{arguments}}

# Strike a server while it brings the store of an older program up to date: `just migrations --seeds 100`, `--every`.
migrations *arguments:
    .venv/bin/python -m tests.crash.migrations {{arguments}}

# Plant a bug for each promise, or for those you name, and expect the promise's test to go red.
redden *arguments:
    .venv/bin/python -m tests.redden {{arguments}}

# Throw bytes at what reads bytes of strangers, guided by coverage; keeps what it finds in tests/corpus.
fuzz *arguments:
    .venv/bin/python -m tests.fuzz {{arguments}}

# Draw five thousand requests of every operation from the description (or as many as you say), and from those that
# LATERON_REFERENCE names (a:b, the published files of QStash); hours on a small machine.
schemathesis cases="5000":
    LATERON_CASES={{cases}} .venv/bin/pytest -q -o faulthandler_timeout=0 tests/contract/test_schemathesis.py tests/contract/test_theirs.py
