#!/usr/bin/env python3
"""Generates parts of BENCHMARKS.md, and the plots, from results/*.json.

    benches/peers/plot.py            writes BENCHMARKS.md and plots/*.svg
    benches/peers/plot.py --check    fails if they disagree with the results

Only Python's standard library is used: tests/all.sh runs the check, and compiling a program would cost
more than the check. A generated part is between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import json
import pathlib
import re
import sys
from html import escape

sys.dont_write_bytecode = True
import capacity  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "BENCHMARKS.md"
OURS = "tower-tenure"
FLOOR = "hand-written floor"

COLOURS = {  # Of medium lightness, for contrast with both white and black.
    FLOOR: "#8a8f98",
    OURS: "#2f81f7",
    "tower-sessions 0.15": "#e3a008",
    "tower-sessions 0.15, always_save": "#d9730d",
    "tower-sessions 0.14, moka, always_save": "#b45cd6",
    "axum_session 0.22": "#c9445c",
    "axess 0.14": "#2da44e",
}


def main():
    results = {path.stem: json.loads(path.read_text()) for path in sorted((HERE / "results").glob("*.json"))}
    wanted = {HERE / "plots" / name: text for name, text in plots(results).items()}
    wanted[PAGE] = page(PAGE.read_text(), results)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(PAGE.parent)} disagrees with benches/peers/results: run benches/peers/plot.py")
        sys.exit(1 if stale else 0)
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path])
        print(f"written: {path.relative_to(PAGE.parent)}")


def page(text, results):
    def replace(match):
        make = globals().get("part_" + match[1])
        if make is None:
            sys.exit(f"BENCHMARKS.md: there is no generated part {match[1]}")
        return f"<!-- generated: {match[1]} -->\n{make(results)}\n<!-- end -->"

    return re.sub(r"<!-- generated: (\w+) -->\n.*?<!-- end -->", replace, text, flags=re.S)


# --- tables


def table(head, rows):
    def line(cells):
        return "| " + " | ".join(cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head)] + [line(row) for row in rows])


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def names(rows, key):
    return list(dict.fromkeys(row[key] for row in rows))


def of_kind(results, file, kind):
    return [row for row in results.get(file, {"rows": []})["rows"] if row.get("kind") == kind]


def added(rows, request, stack, column):
    """The additional cost of a request over the layer that does nothing."""
    find = {row["stack"]: row[column] for row in rows if row["request"] == request}
    if find.get(stack) is None or find.get("no-op layer") is None:
        return None
    return find[stack] - find["no-op layer"]


def added_cpu(rows, request, stack):
    return next((row["cpu_ns_added"] for row in rows if row["request"] == request and row["stack"] == stack), None)


def part_runs(results):
    """The run of each file of results."""
    rows = []
    results = {name: run for name, run in results.items() if "command" in run}
    for name, run in results.items():
        rows.append([f"`results/{name}.json`", f"`{run['command']}`", run["date"], f"`{run['commit']}`", run["rustc"].split(" (")[0]])
    machines = sorted({run["machine"] for run in results.values()})
    versions = {name: ", ".join(v) for run in results.values() for name, v in run["versions"].items()}
    text = table(["results", "command", "date (UTC)", "commit", "compiler"], rows)
    for name, run in results.items():
        if run.get("note"):
            text += f"\n\n`results/{name}.json` is incomplete: {run['note']}."
    text += "\n\nMachine: " + "; ".join(machines) + ".\n\nVersions: "
    return text + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + "."


def request_table(results, cell):
    rows = of_kind(results, "memory", "request")
    requests = names(rows, "request")
    stacks = [stack for stack in names(rows, "stack") if stack not in ("bare axum", "no-op layer")]
    columns = [request for request in requests if any(cell(rows, request, stack) is not None for stack in stacks)]
    body = []
    for stack in stacks:
        cells = [cell(rows, request, stack) for request in columns]
        name = f"**{stack}**" if stack == OURS else stack
        body.append([name] + [number(value) for value in cells])
    return table(["added by"] + columns, body)


def part_cpu(results):
    return request_table(results, added_cpu)


def part_instructions(results):
    return request_table(results, lambda rows, request, stack: added(rows, request, stack, "instructions"))


def part_allocations(results):
    return request_table(results, lambda rows, request, stack: added(rows, request, stack, "allocations"))


def part_ratios(results):
    """Our costs as a ratio of each other library's."""
    rows = of_kind(results, "memory", "request")
    requests = names(rows, "request")
    body = []
    for stack in names(rows, "stack"):
        if stack in ("bare axum", "no-op layer", OURS):
            continue
        cells = []
        for request in requests:
            ours, theirs = added_cpu(rows, request, OURS), added_cpu(rows, request, stack)
            cells.append(number(ours / theirs, 2) if ours and theirs and theirs > 0 else "–")
        body.append([stack] + cells)
    return table(["ours ÷"] + requests, body)


def part_threads(results):
    rows = of_kind(results, "memory", "threads")
    if not rows:
        return "The results have no such rows yet."
    body = []
    for stack in names(rows, "stack"):
        cells = []
        for request in names(rows, "request"):
            row = next((row for row in rows if row["stack"] == stack and row["request"] == request), None)
            if row is None:
                cells += ["–"] * 3
            else:
                cells += [number(row["scaling"], 2), number(row["cpu_ns"][0]), number(row["cpu_ns"][1])]
        body.append([f"**{stack}**" if stack == OURS else stack] + cells)
    head = ["stack"]
    for request in names(rows, "request"):
        head += [f"{request}: rate of two ÷ one", "CPU ns, one", "CPU ns, two"]
    return table(head, body)


def part_losses(results):
    """The requests for which another library adds less than ours."""
    lines = []
    for what, unit, cell in [
        ("CPU time", "ns", added_cpu),
        ("Instructions", "", lambda rows, request, stack: added(rows, request, stack, "instructions")),
        ("Allocations", "", lambda rows, request, stack: added(rows, request, stack, "allocations")),
    ]:
        rows = of_kind(results, "memory", "request")
        peers = [stack for stack in names(rows, "stack") if stack not in ("bare axum", "no-op layer", FLOOR, OURS)]
        lost = []
        for request in names(rows, "request"):
            ours = cell(rows, request, OURS)
            better = [(cell(rows, request, peer), peer) for peer in peers if cell(rows, request, peer) is not None]
            if ours is not None and better and min(better)[0] < ours:
                value, peer = min(better)
                lost.append(f"{request}: {number(ours)} {unit}".rstrip() + f" against {number(value)} {unit}".rstrip() + f" of {peer}")
        lines.append(f"- {what}: " + ("; ".join(lost) if lost else "nowhere") + ".")
    return "\n".join(lines)


def part_probes(results):
    rows = results.get("probes", {"rows": []})["rows"]
    text = []
    for probe in names(rows, "probe"):
        of_probe = [row for row in rows if row["probe"] == probe]
        text.append(f"**{probe[0].upper() + probe[1:]}** — {of_probe[0]['does']}.\n")
        body = []
        for row in of_probe:
            name = f"**{row['library']}**" if row["library"] == OURS else row["library"]
            body.append([name, "yes" if row["right"] else "**no**", row["saw"]])
        text.append(table(["library", "right", "what was seen"], body) + "\n")
    return "\n".join(text).strip()


def part_through(_):
    """Our layer over network stores and one bare command: results/through.txt with fewer columns."""
    text, head = [], None
    for line in (HERE / "results" / "through.txt").read_text().splitlines():
        if line.startswith("# "):
            text.append(line[2:] + "\n")
        elif line.startswith("| request | bare/s"):
            head = [cell.strip() for cell in line.strip("|").split("|")]
            columns = [0, 1, 3, 4, 6, 7, 8, 9, 11]
            text += ["| " + " | ".join(named(head, column) for column in columns) + " |", "|" + "---|" * len(columns)]
        elif line.startswith("|---") or (line.startswith("|") and head is None):
            continue
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            text.append("| " + " | ".join(cells[column] for column in columns) + " |")
        elif line.startswith(("Redis", "PostgreSQL")):
            text.append(f"\n**{line}**\n")
        elif line.startswith("A hit"):
            text.append("\n" + line)
        elif line.startswith("Memory"):
            head = None
    return "\n".join(text).replace("\n\n\n", "\n\n").strip()


def named(head, column):
    """The heading of a column, with the name of its group."""
    group = {7: "server µs:", 8: "server:", 11: "client µs:"}.get(column, "")
    return f"{group} {head[column]}".strip()


def part_network(results):
    """Each layer over Redis and PostgreSQL, and the bare command by the same client."""
    text = []
    rows = of_kind(results, "network", "network")
    for server in names(rows, "server"):
        for request in names(rows, "request"):
            text.append(f"**{server}, {request}**\n")
            body = []
            for row in (row for row in rows if row["server"] == server and row["request"] == request):
                side = f"**{row['side']}**" if row["side"] == OURS else row["side"]
                times = [number(row[key], 1) for key in ("server_us", "client_us")]
                body.append([side, number(row["rate"]), number(row["ratio"], 2), number(row["p99_us"]), *times, row["commands"]])
            head = ["side", "requests/s", "÷ bare", "p99 µs", "server µs", "client µs", "commands a request"]
            if not any(line[-1] for line in body):
                head, body = head[:-1], [line[:-1] for line in body]
            text.append(table(head, body) + "\n")
    return "\n".join(text).strip()


def part_scale(_):
    """The tables of results/scale.txt, each with the command that made it."""
    lines = (HERE / "results" / "scale.txt").read_text().splitlines()
    return "\n".join(line[2:] if line.startswith("# ") else line for line in lines).strip()


def of_capacity(results, kind):
    rows = of_kind(results, "capacity", kind)
    if results["capacity"]["digest"] != capacity.digest():
        sys.exit("results/capacity.json is of other inputs: run benches/peers/capacity.py")
    return rows


def part_check(results):
    """The simulation of this machine, and the measurements."""
    names = {"rate": "requests/s", "p50": "half within, µs", "p99": "99 % within, µs"}
    body = []
    for row in of_capacity(results, "check"):
        error = row["predicted"] / row["measured"] - 1
        body.append([str(row["callers"]), names[row["what"]], number(row["measured"]), number(row["predicted"]), f"{error:+.0%}"])
    return table(["callers", "", "measured", "predicted", "error"], body)


def part_plan(results):
    body = []
    for row in of_capacity(results, "plan"):
        body.append([
            number(row["sessions"]), number(row["rate"]), "yes" if row["near"] else "no", number(row["gigabytes"], 1),
            number(row["servers"]), number(row["node_cores"]), f"{row['busy']:.0%}", *map(number, row["times"]),
        ])  # fmt: skip
    head = ["sessions", "requests/s", "near cache", "GB", "Redis servers", "cores of nodes", "a server is busy", "p50 µs", "p99 µs", "p99.9 µs"]
    return table(head, body)


def part_loaded(results):
    rows = of_capacity(results, "load")
    body = [[f"{row['load']:.0%}", number(row["rate"]), number(row["node_cores"]), *map(number, row["times"])] for row in rows]
    return table(["load of the server", "requests/s", "cores of nodes", "p50 µs", "p99 µs", "p99.9 µs"], body)


# --- plots


def plots(results):
    made = {}
    rows = of_kind(results, "memory", "request")
    if rows:
        requests = [r for r in names(rows, "request") if r not in ("read", "write")]
        made["cpu.svg"] = bars("CPU time that a request has more than through a layer that does nothing, ns", rows, requests, added_cpu)
        requests = [r for r in names(rows, "request") if "scattered" not in r]
        cell = lambda rows, request, stack: added(rows, request, stack, "instructions")
        if any(cell(rows, request, OURS) is not None for request in requests):
            made["instructions.svg"] = bars("Instructions that a request has more than through a layer that does nothing", rows, requests, cell)
    return made


STYLE = """<style>
text { font: 11px system-ui, sans-serif; fill: #24292f; }
.head { font-size: 13px; font-weight: 600; }
.group { font-weight: 600; }
.axis { stroke: #8a8f98; stroke-width: 1; }
@media (prefers-color-scheme: dark) { text { fill: #d7dde4; } }
</style>"""

WIDTH, LEFT, BAR = 760, 120, 11


def svg(title, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, f'<text class="head" x="8" y="18">{escape(title)}</text>', *parts, "</svg>"]) + "\n"


def legend(stacks, y):
    parts, x = [], 8
    for stack in stacks:
        width = 24 + 6 * len(stack)
        if x + width > WIDTH:
            x, y = 8, y + 16
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{COLOURS[stack]}"/>')
        parts.append(f'<text x="{x + 14}" y="{y}">{escape(stack)}</text>')
        x += width
    return parts, y + 20


def bars(title, rows, requests, cell):
    stacks = [stack for stack in COLOURS if any(row["stack"] == stack for row in rows)]
    values = {(r, s): cell(rows, r, s) for r in requests for s in stacks}
    most = max(value for value in values.values() if value is not None)
    parts, y = legend(stacks, 38)
    for request in requests:
        group = [(stack, values[request, stack]) for stack in stacks if values[request, stack] is not None]
        if not group:
            continue
        middle = y + BAR * len(group) / 2 + 4
        parts.append(f'<text class="group" x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(request)}</text>')
        parts.append(f'<line class="axis" x1="{LEFT}" y1="{y - 1}" x2="{LEFT}" y2="{y + BAR * len(group) + 1}"/>')
        for stack, value in group:
            width = max(value, 0) / most * (WIDTH - LEFT - 70)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{COLOURS[stack]}"/>')
            parts.append(f'<text x="{LEFT + width + 4:.1f}" y="{y + BAR - 2}">{number(value)}</text>')
            y += BAR
        y += 9
    return svg(title, y, parts)


if __name__ == "__main__":
    main()
