#!/usr/bin/env python3
"""The cores and the memory that sessions and requests need: a simulation from measured service times.

    benches/peers/capacity.py    writes results/capacity.json in about 20 seconds

plot.py shows the results in BENCHMARKS.md. Only Python's standard library is used, with a seed, so that
the same inputs give the same numbers.

Inputs: the CPU time of a request in this process and in the server, from results/load.txt (reads with one
caller and with 64) and results/through.txt (writes, logins and the near cache), and the bytes of a session
from results/scale.txt.

A thread that wakes up takes all waiting work. Waking up has a cost that this work shares, and each item
has its own cost. Two measurements give both: one caller, where each request wakes each thread, and 64
callers.
"""

import hashlib
import heapq
import itertools
import json
import pathlib
import random
import re
import subprocess
from collections import deque

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
INPUTS = ("load.txt", "through.txt", "scale.txt")
SEED = 13

# Assumptions, not measurements.
MIX = {"Read": 0.90, "Write": 0.09, "Login": 0.01}
NETWORK = 100.0  # µs to the server, and as many back
PAUSE = 10.0  # s between the requests of a session in use
TOUCH = 60.0  # s after which a session in use is written at the latest, at the price of a write
UTILIZED = 0.6  # how busy cores are planned to be
GIGABYTES = 48  # of sessions in one Redis server
MISSES = 0.1  # of a near cache, where a page asks ten times within its second, and at the same node


class Threads:
    """The threads of one program and their waiting work."""

    def __init__(self, threads):
        self.idle, self.count, self.waiting = threads, threads, deque()
        self.taken = self.woken = 0
        self.busy = 0.0


class Machine:
    """Cores that run threads, those with the longest waiting work first."""

    def __init__(self, cores, *threads):
        self.cores, self.threads = cores, threads


class Simulation:
    def __init__(self):
        self.now, self.events, self.order = 0.0, [], itertools.count()
        self.times = []

    def at(self, time, what, *values):
        heapq.heappush(self.events, (time, next(self.order), what, values))

    def submit(self, machine, threads, wake, each, then):
        threads.waiting.append((self.now, wake, each, then))
        self.run(machine)

    def run(self, machine):
        while machine.cores:
            ready = [threads for threads in machine.threads if threads.idle and threads.waiting]
            if not ready:
                return
            threads = min(ready, key=lambda threads: threads.waiting[0][0])
            # Its share of the waiting requests.
            batch = [threads.waiting.popleft() for _ in range(-(-len(threads.waiting) // threads.count))]
            time = max(work[1] for work in batch) + sum(work[2] for work in batch)
            machine.cores -= 1
            threads.idle -= 1
            threads.woken += 1
            threads.taken += len(batch)
            threads.busy += time
            self.at(self.now + time, self.done, machine, threads, batch)

    def done(self, machine, threads, batch):
        machine.cores += 1
        threads.idle += 1
        for work in batch:
            work[3]()
        self.run(machine)

    def go(self, requests):
        """Runs until this many requests are answered."""
        while self.events and len(self.times) < requests:
            self.now, _, what, values = heapq.heappop(self.events)
            what(*values)


class Layer:
    """Nodes and one server, with requests from the nodes to the server and back."""

    def __init__(self, costs, node_cores, together=False, network=0.0, misses=None):
        self.simulation, self.costs, self.network, self.misses = Simulation(), costs, network, misses
        self.random = random.Random(SEED)
        self.workers, self.redis = Threads(node_cores), Threads(1)
        self.node = Machine(node_cores, self.workers, *([self.redis] if together else []))
        self.server = self.node if together else Machine(1, self.redis)

    def request(self, kind, then):
        simulation, cost, begun = self.simulation, self.costs[kind], self.simulation.now

        def answered():
            simulation.times.append(simulation.now - begun)
            then()

        def work(machine, threads, wake, each, then):
            simulation.submit(machine, threads, wake, each, then)

        if kind == "Read" and self.misses is not None and self.random.random() >= self.misses:
            return work(self.node, self.workers, cost["node_wake"], self.costs["hit"], answered)
        half = (cost["node_wake"], cost["node_each"] / 2)

        def back():
            simulation.at(simulation.now + self.network, work, self.node, self.workers, *half, answered)

        def there():
            work(self.server, self.redis, cost["server_wake"], cost["server_each"], back)

        work(self.node, self.workers, *half, lambda: simulation.at(simulation.now + self.network, there))

    def closed(self, callers, requests):
        """Callers that send the next request after each answer. Returns requests a second, and their times."""

        def ask():
            self.request("Read", ask)

        for _ in range(callers):
            ask()
        self.simulation.go(requests)
        return 1e6 * requests / self.simulation.now, sorted(self.simulation.times)

    def open(self, rate, mix, requests):
        """Requests that arrive at random."""
        kinds, weights = list(mix), list(mix.values())

        def arrive():
            self.request(self.random.choices(kinds, weights)[0], lambda: None)
            self.simulation.at(self.simulation.now + self.random.expovariate(rate / 1e6), arrive)

        arrive()
        self.simulation.go(requests)
        return sorted(self.simulation.times)


def quantiles(times):
    return [times[int(len(times) * part)] for part in (0.5, 0.99, 0.999)]


# --- measurements


def tables(name):
    """The tables of a file: the text above each, and its rows by their first cell."""
    title, head, found = "", None, {}
    for line in (RESULTS / name).read_text().splitlines():
        if line.startswith("|---"):
            continue
        if line.startswith("|"):
            cells = [cell.strip(" *") for cell in line.strip().strip("|").split("|")]
            if head is None:
                head = cells
                title += f" {head[1:]}"
            else:
                found.setdefault(title, {})[cells[0]] = cells
        elif line.strip():
            title, head = line.strip(), None
    return found


def through(name, start):
    """The rows of the comparison with this title: the rate, CPU time in both, and response times."""
    rows = next(rows for title, rows in tables(name).items() if title.startswith(start))
    columns = {"rate": 3, "server": 7, "node": 11, "p50": 14, "p99": 15}
    return {kind: {k: float(row[c]) for k, c in columns.items() if c < len(row)} for kind, row in rows.items()}


def costs():
    """The costs of waking up and of each request that match the CPU times measured with one caller and with 64."""
    one, many = (through("load.txt", f"Redis: {callers} request")["Read"] for callers in (1, 64))
    shares = {"node": 1.0, "server": 1.0}  # of waking up that a request has at 64
    for _ in range(8):
        read = {}
        for place in shares:
            wakes = 2 if place == "node" else 1  # before and after the server
            wake = max(0.0, (one[place] - many[place]) / (1 - min(shares[place], 0.99)))
            wake = min(wake, one[place])
            read[place + "_wake"], read[place + "_each"] = wake / wakes, one[place] - wake
        layer = Layer({"Read": read}, 2, together=True)
        layer.closed(64, 8_000)
        for place, threads in (("node", layer.workers), ("server", layer.redis)):
            shares[place] = (shares[place] + threads.woken / threads.taken) / 2
    result = {"Read": read}
    redis, near = through("through.txt", "Redis: 64"), through("through.txt", "Redis behind a near cache")
    for kind in ("Write", "Login"):
        more = {place: redis[kind][place] - redis["Read"][place] for place in shares}
        result[kind] = {**read, **{place + "_each": read[place + "_each"] + more[place] for place in shares}}
    result["hit"] = max(0.0, (near["Read"]["node"] - 0.1 * redis["Read"]["node"]) / 0.9 - 2 * read["node_wake"] * shares["node"])
    return result, shares


def bytes_a_session():
    rows = next(rows for title, rows in tables("scale.txt").items() if title.endswith("['Redis']"))
    return float(rows["bytes a session"][-1])


# --- predictions


def checked(costs):
    rows = []
    for callers in (8, 64):
        measured = through("load.txt", f"Redis: {callers} request")["Read"]
        rate, times = Layer(costs, 2, together=True).closed(callers, 30_000)
        predicted = {"rate": rate, "p50": quantiles(times)[0], "p99": quantiles(times)[1]}
        rows += [
            {"kind": "check", "callers": callers, "what": what, "measured": measured[what], "predicted": round(predicted[what], 1)}
            for what in predicted
        ]
    return rows


def of_mix(costs, shares, mix, place, misses):
    """The CPU µs of a request at a busy node or server."""
    total = 0.0
    for kind, part in mix.items():
        wakes = 2 if place == "node" else 1
        cost = costs[kind][place + "_each"] + wakes * costs[kind][place + "_wake"] * shares[place]
        if kind == "Read" and misses is not None:
            hit = costs["hit"] + costs[kind]["node_wake"] * shares["node"] if place == "node" else 0.0
            cost = misses * cost + (1 - misses) * hit
        total += part * cost
    return total


def planned(costs, shares, each):
    rows = []
    for sessions, rate in [(10**5, 10**3), (10**6, 10**4), (10**7, 10**5), (10**8, 10**6)]:
        for misses in (None, MISSES):
            # Requests that also record an interaction.
            touches = min(MIX["Read"], PAUSE / TOUCH)
            mix = {**MIX, "Read": MIX["Read"] - touches, "Write": MIX["Write"] + touches}
            node, server = (of_mix(costs, shares, mix, place, misses) for place in ("node", "server"))
            servers = max(-(-rate * server / 1e6 // UTILIZED), -(-sessions * each / 1e9 // GIGABYTES), 1)
            cores = max(-(-rate * node / 1e6 // UTILIZED), 1)
            # One server and its share of the nodes.
            layer = Layer(costs, max(1, round(cores / servers)), network=NETWORK, misses=misses)
            times = quantiles(layer.open(rate / servers, mix, 40_000))
            rows.append({
                "kind": "plan", "sessions": sessions, "rate": rate, "near": misses is not None,
                "gigabytes": round(sessions * each / 1e9, 2), "servers": int(servers), "node_cores": int(cores),
                "busy": round(layer.redis.busy / layer.simulation.now, 2), "times": [round(time) for time in times],
            })  # fmt: skip
    return rows


def loaded(costs, shares):
    rows = []
    most = 1e6 / of_mix(costs, shares, MIX, "server", None)
    for load in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
        rate = load * most
        cores = -(-rate * of_mix(costs, shares, MIX, "node", None) / 1e6 // UTILIZED)
        layer = Layer(costs, int(cores), network=NETWORK)
        times = quantiles(layer.open(rate, MIX, 60_000))
        rows.append({"kind": "load", "load": load, "rate": round(rate), "node_cores": int(cores), "times": [round(time) for time in times]})
    return rows


def digest():
    """A hash of the inputs, which shows whether the stored results are current."""
    parts = [(RESULTS / name).read_bytes() for name in INPUTS] + [pathlib.Path(__file__).read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def main():
    measured, shares = costs()
    each = bytes_a_session()
    inputs = {
        "kind": "inputs", "costs": {kind: cost if kind == "hit" else {k: round(v, 2) for k, v in cost.items()} for kind, cost in measured.items()},
        "shares": {place: round(share, 3) for place, share in shares.items()}, "bytes": each,
    }  # fmt: skip
    inputs["costs"]["hit"] = round(measured["hit"], 2)
    rows = [inputs] + checked(measured) + planned(measured, shares, each) + loaded(measured, shares)
    lines = ",\n    ".join(json.dumps(row) for row in rows)
    (RESULTS / "capacity.json").write_text(f'{{\n  "digest": "{digest()}",\n  "rows": [\n    {lines}\n  ]\n}}\n')
    print("written: results/capacity.json")


if __name__ == "__main__":
    main()
