// Logs, faults and packets in one list by time, searchable.
"use strict";

report.surroundings = (() => {
  const form = document.getElementById("search");
  const list = document.getElementById("lines-list");
  const found = document.getElementById("lines-found");
  const section = document.getElementById("surroundings");
  // Only a run has logs and packets.
  if (!section) return { ready: Promise.resolve() };
  // Rows that are shown at once; more come with a button.
  const PAGE = 400;
  let all = [];

  const ready = (async () => {
    const [lines, packets] = await Promise.all([report.json(report.packed("lines")), report.json(report.packed("packets"))]);
    all = lines.map(([time, exact, who, kind, text]) => ({ time, exact, who, kind, text, nodes: [who] }));
    for (const [time, from, to, text] of packets) {
      all.push({ time, exact: 1, who: `${from}→${to}`, kind: "packet", text, nodes: [from, to] });
    }
    all.sort((a, b) => a.time - b.time);
    const first = report.data.anomalies[0];
    const near = first && all.some((line) => line.time >= first.from - 20000 && line.time <= first.to + 20000);
    if (near) limit(first.from - 20000, first.to + 20000);
    filter();
    document.documentElement.dataset.lines = all.length;
  })();

  function limit(from, to) {
    form.elements.from.value = from === null ? "" : (from / 1e6).toFixed(3);
    form.elements.to.value = to === null ? "" : (to / 1e6).toFixed(3);
  }

  const chosen = (name) => new Set([...form.querySelectorAll(`[name="${name}"]:checked`)].map((box) => box.value));

  function filter(shown = PAGE) {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kinds = chosen("kind"), nodes = chosen("node");
    const known = new Set(report.data.nodes);
    const from = form.elements.from.value === "" ? -Infinity : form.elements.from.value * 1e6;
    const to = form.elements.to.value === "" ? Infinity : form.elements.to.value * 1e6;
    const fits = (line) => {
      const kind = line.kind === "stdout" || line.kind === "stderr" ? "log" : line.kind;
      if (line.time < from || line.time > to || !kinds.has(kind)) return false;
      const of = line.nodes.filter((node) => known.has(node));
      if (of.length && !of.some((node) => nodes.has(node))) return false;
      const text = `${line.who} ${line.text}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const lines = all.filter(fits);
    found.textContent = `${lines.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} lines`
      + (from === -Infinity ? "" : `, from ${report.seconds(from, 1000)}`) + (to === Infinity ? "" : ` to ${report.seconds(to, 1000)}`);
    const { element } = report;
    const rows = lines.slice(0, shown).map((line) => element("tr", line.kind,
      element("td", "number", (line.exact ? "" : "~") + report.seconds(line.time, 1)), element("th", "", line.who), element("td", "", line.text)));
    for (const row of rows) row.children[1].scope = "row";
    if (lines.length > shown) {
      const more = element("button", "", `show ${Math.min(PAGE, lines.length - shown)} more`);
      more.type = "button";
      more.addEventListener("click", () => filter(shown + PAGE));
      const cell = element("td", "", more);
      cell.colSpan = 3;
      rows.push(element("tr", "", cell));
    }
    list.replaceChildren(...rows);
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => filter());
  document.getElementById("search-reset").addEventListener("click", () => {
    form.reset();
    limit(null, null);
    filter();
  });

  function show(from, to) {
    // Where nothing was said in so short a time, as far as the nearest line on either side.
    if (!all.some((line) => line.time >= from && line.time <= to)) {
      from = all.findLast((line) => line.time < from)?.time ?? from;
      to = all.find((line) => line.time > to)?.time ?? to;
      // The form holds milliseconds.
      from = Math.floor(from / 1000) * 1000;
      to = Math.ceil(to / 1000) * 1000;
    }
    limit(from, to);
    filter();
    section.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    document.getElementById("lines-view").focus({ preventScroll: true });
  }

  return { show, ready };
})();
