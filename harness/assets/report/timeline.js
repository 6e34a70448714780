// The timeline: every operation of the run on one canvas.
//
// Three levels of detail. Far away, the page's tiles, added up two and two as far as needed. Nearer, bins counted from
// the operations that are in view. Nearest, each operation as a bar on a row of its process.
"use strict";

report.timeline = (() => {
  const { data } = report;
  const view = document.getElementById("timeline-view");
  const canvas = document.getElementById("timeline-canvas");
  const map = document.getElementById("timeline-map");
  const tip = document.getElementById("timeline-tip");
  const range = document.getElementById("timeline-range");
  const detail = document.getElementById("operation");
  const context = canvas.getContext("2d", { alpha: false });

  const AXIS = 22, NAME = 34, GAP = 8, BAND = 16;
  // The most bars that are drawn one by one.
  const SINGLE = 6000;
  const OUTCOMES = ["ok", "fail", "info", "info"];
  const WORDS = ["happened (ok)", "did not happen (fail)", "may have happened (info)", "never ended: may have happened"];
  const LEAST = 50;

  const whole = Math.max(1000, data.lasted);
  const nodes = [...data.nodes];
  let from = 0, to = whole;
  let width = 0, height = 0, lanes = [];
  let tiles = null, operations = null, rows = null, rowsOfNode = [];
  let bars = [], chosen = -1, hovered = -1, waiting = false;
  let palette = {};

  // Levels of tiles, from fine to coarse: each node's ok, fail and info counts, bin after bin.
  async function readTiles() {
    const all = nodes.length + 1;
    const fine = { bin: data.bin, bins: data.bins, counts: new Uint32Array(all * data.bins * 3) };
    await report.column(report.packed("tiles"), [], (value, place) => {
      const bin = place >> 2, what = place & 3;
      if (what < 3) fine.counts[bin * 3 + what] = value;
      return 0;
    });
    const levels = [fine];
    while (levels.at(-1).bins > 128) {
      const last = levels.at(-1);
      const next = { bin: last.bin * 2, bins: last.bins / 2, counts: new Uint32Array(all * (last.bins / 2) * 3) };
      for (let i = 0; i < next.counts.length / 3; i++) {
        for (let what = 0; what < 3; what++) {
          next.counts[i * 3 + what] = last.counts[i * 6 + what] + last.counts[i * 6 + 3 + what];
        }
      }
      levels.push(next);
    }
    return levels;
  }

  // Rows for processes: of one node, each process has its own until its last operation, then another takes it.
  function readRows({ count, lane, start, took, lanes: all }) {
    const last = new Float64Array(all.length);
    for (let i = 0; i < count; i++) last[lane[i]] = start[i] + took[i];
    const row = new Int32Array(all.length).fill(-1);
    rowsOfNode = Array.from({ length: nodes.length + 1 }, () => []);
    for (let i = 0; i < count; i++) {
      const at = lane[i];
      if (row[at] >= 0) continue;
      const free = rowsOfNode[all[at][1] ?? nodes.length];
      let place = free.findIndex((until) => until < start[i]);
      if (place < 0) place = free.length;
      free[place] = last[at];
      row[at] = place;
    }
    return row;
  }

  function layout() {
    const ratio = window.devicePixelRatio || 1;
    width = view.clientWidth;
    const others = tiles && tiles[0].counts.subarray(nodes.length * data.bins * 3).some((count) => count > 0);
    const names = nodes.length === 0 ? ["all"] : others ? [...nodes, "other"] : nodes;
    const lane = Math.max(44, Math.min(92, 480 / names.length));
    lanes = names.map((name, at) => ({
      name, at: name === "other" && at === nodes.length ? nodes.length : at,
      top: AXIS + at * (lane + GAP), height: lane, bands: data.bands.filter((band) => band.node === name),
    }));
    height = AXIS + names.length * (lane + GAP);
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    map.width = Math.round(width * ratio);
    map.height = Math.round(36 * ratio);
    palette = Object.fromEntries(
      ["bg", "text", "muted", "line", "ok", "fail", "info", "fault", "touched", "accent", "bad"].map((name) => [name, report.colour(name)]),
    );
    draw();
  }

  const x = (us) => NAME + ((us - from) / (to - from)) * (width - NAME);
  const time = (px) => from + ((px - NAME) / (width - NAME)) * (to - from);

  // The first operation that began at `us` or later.
  function search(us) {
    const { start, count } = operations;
    let low = 0, high = count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (start[middle] < us) low = middle + 1; else high = middle;
    }
    return low;
  }

  function draw() {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(() => { waiting = false; paint(); });
    }
  }

  function paint() {
    context.fillStyle = palette.bg;
    context.fillRect(0, 0, width, height);
    context.font = "12px system-ui, sans-serif";
    paintAxis();
    for (const lane of lanes) paintBands(lane);
    bars = [];
    // One that began before the view may reach into it.
    const first = operations ? search(from - operations.longest) : 0;
    const visible = operations ? search(to) - first : Infinity;
    if (visible <= SINGLE) paintSingle(first, visible);
    else paintBins(visible);
    for (const lane of lanes) {
      context.fillStyle = palette.bg;
      context.fillRect(0, lane.top, NAME - 2, lane.height);
      context.fillStyle = palette.text;
      context.fillText(lane.name, 2, lane.top + lane.height / 2 + 4, NAME - 4);
    }
    paintAnomalies();
    paintMap();
    range.textContent = `${report.seconds(from, (to - from) / 100)} to ${report.seconds(to, (to - from) / 100)}`;
    view.dataset.from = Math.round(from);
    view.dataset.to = Math.round(to);
    view.dataset.level = visible <= SINGLE ? "operations" : visible === Infinity || binsSuffice() ? "tiles" : "bins";
  }

  function paintAxis() {
    const raw = ((to - from) / Math.max(2, width / 110));
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
    context.lineWidth = 1;
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      const px = Math.round(x(at)) + 0.5;
      context.strokeStyle = palette.line;
      context.beginPath();
      context.moveTo(px, AXIS - 4);
      context.lineTo(px, height);
      context.stroke();
      context.fillStyle = palette.muted;
      const text = report.seconds(at, step);
      context.fillText(text, Math.min(px + 3, width - context.measureText(text).width - 2), 13);
    }
  }

  function paintBands(lane) {
    // Labels of faults that are in force together do not cover each other: the first one is readable.
    let labelled = 0;
    for (const band of lane.bands) {
      if (band.to < from || band.from > to) continue;
      const left = Math.max(NAME, x(band.from)), right = Math.min(width, x(band.to));
      const wide = Math.max(2, right - left);
      context.globalAlpha = band.struck ? 0.22 : 0.1;
      context.fillStyle = band.struck ? palette.fault : palette.touched;
      context.fillRect(left, lane.top, wide, lane.height);
      context.globalAlpha = band.struck ? 1 : 0.5;
      context.fillRect(left, lane.top + BAND - 3, wide, band.struck ? 3 : 2);
      context.globalAlpha = 1;
      if (wide > 30 && left >= labelled) {
        const label = `${band.fault}: ${band.struck ? band.what : "links cut"}`;
        labelled = left + Math.min(wide, 6 + context.measureText(label).width);
        context.save();
        context.beginPath();
        context.rect(left, lane.top, wide, BAND);
        context.clip();
        context.fillStyle = band.struck ? palette.text : palette.muted;
        context.fillText(label, left + 3, lane.top + 11);
        context.restore();
      }
    }
  }

  const binsSuffice = () => tiles && tiles[0].bin * (width - NAME) / (to - from) <= 3.4;

  // Counts in bins: from the tiles where they are fine enough, else from the operations in view.
  function paintBins(visible) {
    if (!tiles) return;
    if (binsSuffice() || visible === Infinity) {
      let level = 0;
      while (level + 1 < tiles.length && tiles[level + 1].bin * (width - NAME) / (to - from) <= 3.4) level++;
      const { bin, bins, counts } = tiles[level];
      const begin = Math.max(0, Math.floor(from / bin)), end = Math.min(bins, Math.ceil(to / bin));
      stack(bin, begin, end, (lane, at, what) => counts[(lane * bins + at) * 3 + what]);
      return;
    }
    const bin = Math.max(1, (to - from) / ((width - NAME) / 2.5));
    const begin = Math.floor(from / bin), end = Math.ceil(to / bin), span = end - begin;
    const counts = new Uint32Array((nodes.length + 1) * span * 3);
    const { start, lane, kind } = operations;
    const nodeOf = laneNodes();
    for (let i = search(begin * bin), last = search(to); i < last; i++) {
      const what = Math.min(2, kind[i] & 3);
      const place = Math.min(span - 1, Math.floor(start[i] / bin) - begin);
      counts[(nodeOf[lane[i]] * span + place) * 3 + what]++;
    }
    stack(bin, begin, end, (at, place, what) => counts[(at * span + place - begin) * 3 + what]);
  }

  let nodeCache = null;
  function laneNodes() {
    nodeCache ??= Uint16Array.from(operations.lanes, ([, node]) => node ?? nodes.length);
    return nodeCache;
  }

  function stack(bin, begin, end, count) {
    let most = 1;
    for (const { at } of lanes) {
      for (let place = begin; place < end; place++) {
        const sum = count(at, place, 0) + count(at, place, 1) + count(at, place, 2);
        if (sum > most) most = sum;
      }
    }
    for (const { at, top, height: tall } of lanes) {
      const room = tall - BAND - 2, base = top + tall;
      for (let what = 0; what < 3; what++) {
        context.fillStyle = palette[OUTCOMES[what]];
        for (let place = begin; place < end; place++) {
          const number = count(at, place, what);
          if (!number) continue;
          let below = 0;
          for (let under = what + 1; under < 3; under++) below += count(at, place, under);
          const left = Math.max(NAME, x(place * bin)), right = x((place + 1) * bin);
          // Whatever did not happen is drawn at least a pixel high, at the bottom: it is what one looks for.
          const low = below ? Math.max(1.5, (below / most) * room) : 0;
          const tallness = Math.max(what ? 1.5 : 0.6, (number / most) * room);
          context.fillRect(left, base - low - tallness, Math.max(0.7, right - left), tallness);
        }
      }
    }
  }

  function paintSingle(first, visible) {
    rows ??= readRows(operations);
    const { start, took, lane, kind, lanes: all } = operations;
    const places = new Map(lanes.map((lane) => [lane.at, lane]));
    for (let i = first; i < first + visible; i++) {
      const end = start[i] + took[i];
      if (end < from) continue;
      const node = all[lane[i]][1] ?? nodes.length;
      const place = places.get(node);
      if (!place) continue;
      const count = Math.max(1, rowsOfNode[node].length);
      const tall = (place.height - BAND - 4) / count;
      const top = place.top + BAND + 3 + rows[lane[i]] * tall;
      const left = Math.max(NAME, x(start[i])), right = Math.min(width, x(end));
      const bar = { i, x: left, y: top, w: Math.max(2, right - left), h: Math.max(1.5, tall - 1) };
      bars.push(bar);
      const outcome = kind[i] & 3;
      context.fillStyle = palette[OUTCOMES[outcome]];
      context.globalAlpha = outcome === 0 ? 0.85 : 1;
      context.fillRect(bar.x, bar.y, bar.w, bar.h);
      context.globalAlpha = 1;
      if (outcome === 1) {
        // Not by colour alone: what failed is struck through.
        context.fillStyle = palette.bg;
        context.fillRect(bar.x, bar.y + bar.h / 2 - 0.75, bar.w, 1.5);
      } else if (outcome >= 2) {
        context.strokeStyle = palette.text;
        context.setLineDash([3, 2]);
        context.strokeRect(bar.x + 0.5, bar.y + 0.5, Math.max(1, bar.w - 1), Math.max(1, bar.h - 1));
        context.setLineDash([]);
      }
      if (bar.w > 60 && bar.h > 10) {
        context.fillStyle = palette.bg;
        context.fillText(data.functions[kind[i] >> 2], bar.x + 4, bar.y + bar.h / 2 + 4, bar.w - 6);
      }
      if (i === chosen || i === hovered) {
        context.strokeStyle = palette.accent;
        context.lineWidth = 2;
        context.strokeRect(bar.x - 1, bar.y - 1, bar.w + 2, bar.h + 2);
        context.lineWidth = 1;
      }
    }
    const labels = new Map(data.anomalies.flatMap((anomaly) => anomaly.operations.map(([index, label]) => [index, `${anomaly.number}${label}`])));
    context.font = "bold 12px system-ui, sans-serif";
    const named = bars.filter((bar) => labels.has(operations.index[bar.i]));
    for (const bar of named) {
      const label = labels.get(operations.index[bar.i]);
      context.strokeStyle = palette.bad;
      context.lineWidth = 2;
      context.strokeRect(bar.x - 1, bar.y - 1, bar.w + 2, bar.h + 2);
      context.lineWidth = 1;
      // Where there are many, their names would hide them.
      if (named.length > 16) continue;
      const wide = context.measureText(label).width + 6;
      const left = Math.min(bar.x + bar.w + 3, width - wide);
      context.fillStyle = palette.bad;
      context.fillRect(left, bar.y + bar.h / 2 - 8, wide, 16);
      context.fillStyle = palette.bg;
      context.fillText(label, left + 3, bar.y + bar.h / 2 + 4);
    }
    context.font = "12px system-ui, sans-serif";
  }

  function paintAnomalies() {
    for (const anomaly of data.anomalies) {
      if (anomaly.to < from || anomaly.from > to) continue;
      const px = Math.max(NAME + 1, Math.min(width - 1, x(anomaly.to)));
      context.fillStyle = palette.bad;
      context.beginPath();
      context.moveTo(px - 5, AXIS - 9);
      context.lineTo(px + 5, AXIS - 9);
      context.lineTo(px, AXIS);
      context.fill();
      context.globalAlpha = 0.5;
      context.fillRect(px - 0.5, AXIS, 1, height - AXIS);
      context.globalAlpha = 1;
    }
  }

  // The whole run in small, with the view on it.
  function paintMap() {
    const pen = map.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = palette.bg;
    pen.fillRect(0, 0, width, 36);
    if (tiles) {
      const level = tiles.at(-1);
      const sums = Array.from({ length: level.bins }, (_, at) => {
        const sum = [0, 0, 0];
        for (let node = 0; node <= nodes.length; node++) {
          for (let what = 0; what < 3; what++) sum[what] += level.counts[(node * level.bins + at) * 3 + what];
        }
        return sum;
      });
      const most = Math.max(1, ...sums.map(([a, b, c]) => a + b + c));
      sums.forEach((sum, at) => {
        const left = (at * level.bin / whole) * width, wide = (level.bin / whole) * width;
        let base = 36;
        for (const what of [2, 1, 0]) {
          const tall = (sum[what] / most) * 28;
          pen.fillStyle = palette[OUTCOMES[what]];
          pen.globalAlpha = 0.7;
          pen.fillRect(left, base - tall, wide + 0.5, tall);
          base -= tall;
        }
      });
      pen.globalAlpha = 1;
    }
    pen.fillStyle = palette.fault;
    for (const band of data.bands) {
      if (band.struck) pen.fillRect((band.from / whole) * width, 0, Math.max(1.5, ((band.to - band.from) / whole) * width), 4);
    }
    pen.fillStyle = palette.bad;
    for (const anomaly of data.anomalies) pen.fillRect((anomaly.to / whole) * width - 1, 0, 2, 36);
    pen.strokeStyle = palette.accent;
    pen.lineWidth = 2;
    pen.strokeRect((from / whole) * width + 1, 1, Math.max(4, ((to - from) / whole) * width - 2), 34);
  }

  function set(newFrom, newTo, quiet) {
    const span = Math.max(LEAST, Math.min(whole, newTo - newFrom));
    from = Math.max(0, Math.min(whole - span, newFrom));
    to = from + span;
    draw();
    if (!quiet) report.look(from, to, set);
  }

  function zoom(factor, around = (from + to) / 2) {
    const span = Math.max(LEAST, Math.min(whole, (to - from) * factor));
    const share = (around - from) / (to - from);
    set(around - span * share, around + span * (1 - share));
  }

  const pan = (share) => set(from + (to - from) * share, to + (to - from) * share);

  // Shows [a, b] with some room around it.
  function show(a, b) {
    const room = Math.max(2000, (b - a) * 0.25);
    set(a - room, b + room);
  }

  function next(list) {
    const middle = (from + to) / 2;
    const sorted = [...list].sort((a, b) => a.from - b.from);
    const wanted = sorted.find((item) => (item.from + item.to) / 2 > middle + 1) ?? sorted[0];
    if (wanted) show(wanted.from, wanted.to);
  }

  const at = (px, py) => bars.findLast((bar) => px >= bar.x - 2 && px <= bar.x + bar.w + 2 && py >= bar.y - 1 && py <= bar.y + bar.h + 1);

  async function describe(i) {
    const { start, took, lane, kind, index, error, lanes: all } = operations;
    const [process, node] = all[lane[i]];
    const end = start[i] + took[i];
    const faults = data.bands.filter((band) => band.node === data.nodes[node] && band.from <= end && band.to >= start[i]);
    return {
      title: `${data.functions[kind[i] >> 2]} by process ${process}${node === null ? "" : ` on ${data.nodes[node]}`}`,
      outcome: WORDS[kind[i] & 3],
      value: await report.value(i),
      when: `${report.seconds(start[i])} to ${(kind[i] & 3) === 3 ? "the end" : report.seconds(end)} (${report.duration(took[i])})`,
      error: error[i] ? data.errors[error[i] - 1] : "",
      faults: faults.map((band) => `${band.fault}: ${band.what}`),
      index: index[i], from: start[i], to: end,
    };
  }

  async function choose(i) {
    chosen = i;
    draw();
    const told = await describe(i);
    if (chosen !== i) return;
    const { element } = report;
    const line = (name, text) => text && text.length ? [element("dt", "", name), element("dd", "", text)] : [];
    const around = report.surroundings.show && element("button", "", "Logs and packets around it");
    if (around) {
      around.type = "button";
      around.addEventListener("click", () => report.surroundings.show(told.from - 50000, told.to + 50000));
    }
    detail.replaceChildren(
      element("h4", "", told.title),
      element("dl", "facts",
        ...line("Outcome", told.outcome), ...line("Value", told.value ?? "only in the history"), ...line("When", told.when),
        ...line("Because", told.error), ...line("Under", told.faults.join("; ")), ...line("Event", `index ${told.index} of the history`)),
      ...(around ? [around] : []),
    );
  }

  async function hover(bar, px, py) {
    const i = bar ? bar.i : -1;
    if (i === hovered) return;
    hovered = i;
    canvas.style.cursor = bar ? "pointer" : "grab";
    tip.hidden = true;
    draw();
    if (i < 0) return;
    const told = await describe(i);
    if (hovered !== i) return;
    tip.textContent = `${told.title} ${told.value ?? ""} — ${told.outcome}, ${told.when}`;
    tip.hidden = false;
    tip.style.left = Math.max(0, Math.min(px + 12, width - tip.offsetWidth)) + "px";
    tip.style.top = py + 16 + "px";
  }

  // Walks to the next or previous of the bars in view.
  function walk(step) {
    if (!bars.length) return;
    const order = bars.map((bar) => bar.i);
    const place = order.indexOf(chosen);
    choose(order[place < 0 ? 0 : Math.max(0, Math.min(order.length - 1, place + step))]);
  }

  const pointers = new Map();
  let moved = 0, grip = null;

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event.offsetX);
    moved = 0;
    grip = { from, to, points: [...pointers.values()] };
    tip.hidden = true;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) {
      hover(at(event.offsetX, event.offsetY), event.offsetX, event.offsetY);
      return;
    }
    moved += Math.abs(event.offsetX - pointers.get(event.pointerId));
    pointers.set(event.pointerId, event.offsetX);
    const points = [...pointers.values()];
    const scale = (grip.to - grip.from) / (width - NAME);
    if (points.length === 1) {
      const by = (grip.points[0] - points[0]) * scale;
      set(grip.from + by, grip.to + by);
    } else if (grip.points.length === 2) {
      const [a, b] = grip.points, [c, d] = points;
      const factor = Math.abs(a - b) / Math.max(10, Math.abs(c - d));
      const middle = grip.from + ((a + b) / 2 - NAME) * scale;
      const span = (grip.to - grip.from) * factor;
      const share = ((c + d) / 2 - NAME) / (width - NAME);
      set(middle - span * share, middle + span * (1 - share));
    }
  });
  const release = (event) => {
    if (pointers.delete(event.pointerId) && moved < 4 && event.type === "pointerup") {
      const bar = at(event.offsetX, event.offsetY);
      if (bar) choose(bar.i);
    }
    grip = { from, to, points: [...pointers.values()] };
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(event.deltaY / 250), time(event.offsetX));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      pan(event.deltaX / width);
    }
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoom(0.3, time(event.offsetX)));

  const mapTo = (event) => {
    const middle = (event.offsetX / width) * whole, span = to - from;
    set(middle - span / 2, middle + span / 2);
  };
  map.addEventListener("pointerdown", (event) => { map.setPointerCapture(event.pointerId); mapTo(event); });
  map.addEventListener("pointermove", (event) => { if (event.buttons) mapTo(event); });

  const actions = {
    in: () => zoom(0.5), out: () => zoom(2), left: () => pan(-0.25), right: () => pan(0.25), whole: () => set(0, whole),
    anomaly: () => next(data.anomalies), fault: () => next(data.bands.filter((band) => band.struck)),
  };
  for (const button of document.querySelectorAll("[data-timeline]")) {
    button.addEventListener("click", () => actions[button.dataset.timeline]());
  }
  const keys = {
    ArrowLeft: actions.left, ArrowRight: actions.right, "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.whole,
    Home: () => set(0, to - from), End: () => set(whole - (to - from), whole), a: actions.anomaly, f: actions.fault,
    ",": () => walk(-1), ".": () => walk(1),
  };
  view.addEventListener("keydown", (event) => {
    const action = keys[event.key];
    if (action && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      action();
    }
  });

  report.listeners.push(set);
  new ResizeObserver(layout).observe(view);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", layout);

  const ready = (async () => {
    tiles = await readTiles();
    layout();
    performance.mark("tiles");
    operations = await report.operations;
    draw();
    document.documentElement.dataset.operations = operations.count;
    performance.mark("operations");
  })();

  return { show, set, ready, view: () => [from, to], bars: () => bars };
})();
