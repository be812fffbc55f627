# SPDX-License-Identifier: LGPL-3.0-or-later
"""Building and running the benchmark programs: what the scripts
`run-benchmarks' and `claims' share.  Standard library only."""

import json
import os
import statistics
import subprocess
import sys
import time

BENCHMARKS = os.path.dirname(os.path.abspath(__file__))
BASE = os.path.dirname(BENCHMARKS)

PROGRAMS = [
    "binary-trees",
    "quad-trees",
    "random-graph",
    "queues",
    "islands",
    "large-arrays",
    "ephemeron-tables",
    "finalizer-storm",
    "alloc",
    "trace",
]

# Exit statuses of the programs, besides 0; see bench-options.h.
STATUS_NAMES = {1: "corrupt", 2: "usage", 3: "oom"}


class Variant:
    """A collector, possibly with settings in the environment, written
    NAME[@VARIABLE=VALUE...]."""

    def __init__(self, text):
        self.text = text
        self.collector, *settings = text.split("@")
        self.environment = dict(s.split("=", 1) for s in settings)

    def __str__(self):
        return self.text


class Run:
    """The outcome of one run: `status' is "ok" or says what went wrong,
    `result' maps names to numbers and strings."""

    def __init__(self, status, result=None, message=""):
        self.status = status
        self.result = result or {}
        self.message = message

    @property
    def ok(self):
        return self.status == "ok"


def fail(message):
    sys.exit("%s: %s" % (os.path.basename(sys.argv[0]), message))


def binary_directory():
    return os.path.join(BASE, "bin")


def binary(directory, program, collector):
    return os.path.join(directory, "%s.%s" % (program, collector))


def build(programs, collectors, make="make"):
    """Build the programs and return the directory that holds them."""
    names = sorted({"bin/%s.%s" % (p, c) for p in programs for c in collectors})
    log("building %d programs" % len(names))
    jobs = "-j%d" % (os.cpu_count() or 1)
    done = subprocess.run(
        [make, "-C", BASE, jobs] + names, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:])
        fail("cannot build the programs")
    return binary_directory()


def command_environment(variant):
    environment = dict(os.environ)
    environment.update(variant.environment)
    return environment


def finish(process, timeout):
    """Wait for a process started with --json; make a Run of it."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Run("timeout")
    if process.returncode < 0:
        return Run("signal-%d" % -process.returncode, message=err.strip())
    if process.returncode:
        return Run(STATUS_NAMES.get(process.returncode, "failed"),
                   message=err.strip())
    try:
        return Run("ok", json.loads(out.strip().splitlines()[-1]))
    except (ValueError, IndexError):
        return Run("no-result", message=out[-200:])


def start(directory, program, variant, arguments):
    return subprocess.Popen(
        [binary(directory, program, variant.collector), "--json"] + arguments,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=command_environment(variant))


def run_one(directory, program, variant, arguments, timeout=600):
    return finish(start(directory, program, variant, arguments), timeout)


def run_together(directory, program, variant, arguments, count, timeout=600):
    """Run COUNT processes whose measured phases begin at the same time."""
    processes = [start(directory, program, variant, arguments + ["--hold"])
                 for _ in range(count)]
    for process in processes:
        process.stdout.readline()  # READY, or nothing if it failed
    for process in processes:
        try:
            process.stdin.write("\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass
    return [finish(process, timeout) for process in processes]


def median(values):
    values = list(values)
    return statistics.median(values) if values else None


def median_of(runs, name):
    return median(run.result[name] for run in runs if run.ok)


def log(message):
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


class Progress:
    """One line per step on standard error, with the time to go."""

    def __init__(self, total):
        self.total = total
        self.done = 0
        self.began = time.monotonic()

    def step(self, what, outcome):
        self.done += 1
        spent = time.monotonic() - self.began
        left = spent / self.done * (self.total - self.done)
        log("[%d/%d] %s: %s, about %d:%02d to go"
            % (self.done, self.total, what, outcome, left // 60, left % 60))


def split_list(text):
    return [item for item in text.replace(",", " ").split() if item]
