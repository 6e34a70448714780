// Unpacking what the page carries: numbers as LEB128, deflated, in base64 (see pack.rs).
"use strict";

globalThis.report = {
  data: JSON.parse(document.getElementById("data").textContent),

  packed(id) {
    return document.getElementById(id).textContent;
  },

  async inflate(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  },

  async json(base64) {
    return JSON.parse(new TextDecoder().decode(await report.inflate(base64)));
  },

  // Fills `into` with the numbers of a packed column, each as `map(number, place)` has it.
  async column(base64, into, map) {
    const bytes = await report.inflate(base64);
    let place = 0, at = 0;
    while (at < bytes.length) {
      let byte = bytes[at++], value = byte & 0x7f, scale = 128;
      while (byte & 0x80) {
        byte = bytes[at++];
        value += (byte & 0x7f) * scale;
        scale *= 128;
      }
      into[place] = map(value, place);
      place++;
    }
    return into;
  },

  // An element with a class and text, or children.
  element(name, className, ...children) {
    const element = document.createElement(name);
    if (className) element.className = className;
    element.append(...children);
    return element;
  },

  // Microseconds as seconds, with as many digits as `step` microseconds need.
  seconds(us, step = 1) {
    const digits = Math.max(0, Math.min(6, Math.ceil(6 - Math.log10(Math.max(1, step)))));
    return (us / 1e6).toFixed(digits) + " s";
  },

  duration(us) {
    if (us < 1000) return us + " µs";
    if (us < 1e6) return (us / 1000).toFixed(us < 1e4 ? 2 : 1) + " ms";
    return (us / 1e6).toFixed(2) + " s";
  },

  colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  },

  // What other parts do when the time that is looked at changes; each gets [from, to] in µs.
  listeners: [],
  look(from, to, by) {
    for (const listener of report.listeners) if (listener !== by) listener(from, to);
  },
};

// Every operation, column by column; resolved when all are unpacked.
report.operations = (async () => {
  const { operations: count, lanes } = report.data;
  const column = (name, into, map) => report.column(report.packed("column-" + name), into, map);
  let start = 0, lane = 0, index = 0;
  const [starts, took, laneOf, kind, indices, error] = await Promise.all([
    column("start", new Float64Array(count), (delta) => (start += delta)),
    column("took", new Float64Array(count), (value) => value),
    column("lane", new Uint32Array(count), (zigzag) => (lane += zigzag % 2 ? -(zigzag + 1) / 2 : zigzag / 2)),
    column("kind", new Uint16Array(count), (value) => value),
    column("index", new Float64Array(count), (delta) => (index += delta)),
    column("error", new Uint32Array(count), (value) => value),
  ]);
  let longest = 0;
  for (let i = 0; i < count; i++) if (took[i] > longest) longest = took[i];
  return { count, start: starts, took, lane: laneOf, kind, index: indices, error, longest, lanes };
})();

// The value of operation `i`, or null where the page does not carry it. A block is unpacked when it is first needed.
report.value = (() => {
  let blocks = null;
  const unpacked = new Map();
  return async (i) => {
    blocks ??= report.packed("values").split("\n");
    const block = Math.floor(i / report.data.block);
    if (!blocks[block]) return null;
    if (!unpacked.has(block)) {
      if (unpacked.size > 16) unpacked.clear();
      unpacked.set(block, report.json(blocks[block]));
    }
    return (await unpacked.get(block))[i % report.data.block];
  };
})();
