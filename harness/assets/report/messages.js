// The messages around the anomalies in one list by time, searchable.
"use strict";

report.messages = (() => {
  const form = document.getElementById("message-search");
  // Only some systems' messages are recorded.
  if (!form) return { ready: Promise.resolve() };
  const list = document.getElementById("messages-list");
  const found = document.getElementById("messages-found");
  const diagrams = document.querySelectorAll(".diagrams details");
  const PAGE = 300;
  let all = [];

  const ready = (async () => {
    const rows = await report.json(report.packed("messages-listed"));
    all = rows.map(([time, from, to, what, fate, anomaly, labels, drawn]) => ({ time, from, to, what, fate, anomaly, labels, drawn }));
    filter();
  })();

  function row(message) {
    const { element } = report;
    const what = element("td", "", message.what);
    if (message.fate) what.append(" — ", element("span", message.fate === "did not arrive" ? "bad" : "muted", message.fate));
    const who = element("th", "", `${message.from}→${message.to}`);
    who.scope = "row";
    const row = element("tr", "", element("td", "number", message.labels.replace(/\bm(?=\d)/, "")),
      element("td", "number", report.seconds(message.time, 1)), who, what);
    if (message.anomaly) {
      row.dataset.witness = message.anomaly;
      row.dataset.label = message.labels;
    }
    return row;
  }

  function filter(shown = PAGE) {
    const open = new Set([...diagrams].filter((diagram) => diagram.open).map((diagram) => Number(diagram.id.split("-")[1])));
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (message) => {
      if (!words.length && !form.elements.all.checked && !(message.drawn && open.has(message.anomaly))) return false;
      const text = `${message.from} ${message.to} ${message.what} ${message.fate}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const messages = all.filter(fits);
    found.textContent = `${messages.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} messages`;
    const rows = messages.slice(0, shown).map(row);
    if (messages.length > shown) {
      const more = report.element("button", "", `show ${Math.min(PAGE, messages.length - shown)} more`);
      more.type = "button";
      more.addEventListener("click", () => filter(shown + PAGE));
      const cell = report.element("td", "", more);
      cell.colSpan = 4;
      rows.push(report.element("tr", "", cell));
    }
    list.replaceChildren(...rows);
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => filter());
  for (const diagram of diagrams) diagram.addEventListener("toggle", () => filter());

  return { ready };
})();
