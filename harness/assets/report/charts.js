// Latency, rate and clocks over time, drawn by uPlot; their time is that of the timeline.
"use strict";

report.charts = (() => {
  const { data } = report;
  const { series, bands } = data;
  const times = Array.from({ length: series.slots }, (_, at) => ((at + 0.5) * series.slot_ms) / 1000);
  const charts = [];

  // Faults behind the lines.
  const faults = {
    hooks: {
      drawClear: (chart) => {
        const { ctx } = chart, { left, top, width, height } = chart.bbox;
        ctx.save();
        ctx.beginPath();
        ctx.rect(left, top, width, height);
        ctx.clip();
        ctx.fillStyle = report.colour("fault");
        ctx.globalAlpha = 0.14;
        const seen = new Set();
        for (const band of bands) {
          if (seen.has(band.fault)) continue;
          seen.add(band.fault);
          const from = chart.valToPos(band.from / 1e6, "x", true), to = chart.valToPos(band.to / 1e6, "x", true);
          ctx.fillRect(from, top, Math.max(1, to - from), height);
        }
        ctx.restore();
      },
    },
  };

  function draw(place, lines, values, scale, format) {
    const element = document.getElementById(place);
    if (!element) return null;
    const axis = { stroke: report.colour("muted"), grid: { stroke: report.colour("grid"), width: 1 }, ticks: { stroke: report.colour("line") } };
    const [from, to] = report.timeline.view();
    const chart = new uPlot({
      width: element.clientWidth, height: 220, plugins: [faults],
      scales: { x: { time: false, min: from / 1e6, max: to / 1e6 }, y: scale },
      axes: [
        { ...axis, values: (_, ticks) => ticks.map((tick) => tick + " s") },
        { ...axis, size: 66, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))) },
      ],
      series: [
        { label: "at", value: (_, at) => (at === null ? "–" : at.toFixed(2) + " s") },
        ...lines.map(({ label, colour, dash, paths }) => ({
          label, stroke: report.colour(colour), width: 1.75, dash, points: { show: false }, paths,
          value: (_, value) => (value === null || value === undefined ? "–" : format(value)),
        })),
      ],
      hooks: {
        setSelect: [(chart) => {
          const { left, width } = chart.select;
          if (width > 4) report.timeline.set(chart.posToVal(left, "x") * 1e6, chart.posToVal(left + width, "x") * 1e6);
        }],
      },
      cursor: { sync: { key: "run" }, drag: { x: true, y: false, setScale: false } },
    }, values, element);
    charts.push({ chart, element });
    return chart;
  }

  const stepped = uPlot.paths.stepped({ align: 0 });
  const perSecond = (counts) => counts.map((count) => (count * 1000) / series.slot_ms);
  const number = (value) => (value >= 1e6 ? value / 1e6 + " M" : value >= 1e4 ? value / 1000 + " k" : String(+value.toPrecision(4)));

  // A history without times has no such charts.
  const kinds = document.getElementById("function");

  function figures() {
    if (!kinds) return;
    const chosen = kinds.value;
    const of = series.functions.findLast((one) => one.name === chosen) ?? series.functions.at(-1);
    const quantile = (value) => (value === 1 ? "slowest" : value * 100 + " %");
    draw("rate",
      [{ label: "ok", colour: "ok", paths: linear }, { label: "fail", colour: "fail", dash: [8, 4], paths: linear }, { label: "info", colour: "info", dash: [3, 3], paths: linear }],
      [times, perSecond(of.ok), perSecond(of.fail), perSecond(of.info)], { range: (_, low, high) => [0, Math.max(1, high * 1.05)] },
      (value) => number(value) + "/s");
    const log = { distr: 3, log: 10 };
    draw("latency",
      data.quantiles.map((value, at) => ({ label: quantile(value), colour: `q${at}`, dash: [undefined, [8, 4], [4, 3], [2, 3]][at], paths: linear })),
      [times, ...of.latency.map((line) => line.map((us) => (us === null ? null : Math.max(1, us) / 1000)))], log,
      (ms) => (ms >= 1000 ? number(ms / 1000) + " s" : number(ms) + " ms"));
  }
  const linear = uPlot.paths.linear();

  function clocks() {
    if (!document.getElementById("clocks")) return;
    const all = [...new Set(data.clocks.flatMap(({ offsets }) => offsets.map(([at]) => at)))].sort((a, b) => a - b);
    const lines = data.clocks.map(({ node }, at) => ({ label: node, colour: `n${at % 6}`, dash: at % 2 ? [6, 3] : undefined, paths: stepped }));
    const values = data.clocks.map(({ offsets }) => {
      const known = new Map(offsets);
      return all.map((at) => (known.has(at) ? known.get(at) / 1000 : null));
    });
    draw("clocks", lines, [all.map((at) => at / 1e6), ...values], {}, (ms) => number(ms) + " ms");
  }

  function drawAll() {
    for (const { chart } of charts.splice(0)) chart.destroy();
    figures();
    clocks();
  }

  kinds?.addEventListener("change", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let resizing = 0;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => charts.forEach(({ chart, element }) => chart.setSize({ width: element.clientWidth, height: 220 })), 100);
  });
  let pending = 0;
  report.listeners.push((from, to) => {
    // Not with every frame of a drag: the timeline comes first.
    clearTimeout(pending);
    pending = setTimeout(() => charts.forEach(({ chart }) => chart.setScale("x", { min: from / 1e6, max: to / 1e6 })), 120);
  });
  return { drawAll };
})();
