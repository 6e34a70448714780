// Two runs over each other: a with full lines, b with broken ones.
"use strict";

(() => {
  const sides = JSON.parse(document.getElementById("data").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const axis = { stroke: colour("muted"), grid: { stroke: colour("grid"), width: 1 } };
  const slots = ({ slot, ok }) => ok.map((_, at) => ((at + 0.5) * slot) / 1000);
  const times = [...new Set(sides.flatMap(slots))].sort((a, b) => a - b);

  function line(side, values) {
    const known = new Map(slots(side).map((time, at) => [time, values[at]]));
    // Where the other run has a slot and this one has none, the line goes on.
    return times.map((time) => (known.has(time) ? known.get(time) : undefined));
  }

  function draw(id, lines, scale, unit) {
    const place = document.getElementById(id);
    const chart = new uPlot({
      width: place.clientWidth, height: 260, scales: { x: { time: false }, y: scale }, cursor: { sync: { key: "compare" } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => tick + " s") }, { ...axis, size: 70, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : tick + unit)) }],
      series: [{ label: "at" }, ...lines.map(({ label, stroke, dash }) => ({ label, stroke, dash, width: 1.75, points: { show: false } }))],
    }, [times, ...lines.map(({ values }) => values)], place);
    addEventListener("resize", () => chart.setSize({ width: place.clientWidth, height: 260 }));
  }

  const ms = (values) => values.map((us) => (us === null ? null : Math.max(1, us) / 1000));
  draw("compare-latency", sides.flatMap((side, at) => {
    const name = "ab"[at], dash = at ? [6, 4] : undefined;
    return [
      { label: `${name} 50 %`, stroke: colour(at ? "q2" : "q0"), dash, values: line(side, ms(side.median)) },
      { label: `${name} 99 %`, stroke: colour(at ? "q3" : "q1"), dash, values: line(side, ms(side.slow)) },
    ];
  }), { distr: 3 }, " ms");
  draw("compare-rate", sides.map((side, at) => (
    { label: "ab"[at], stroke: colour(at ? "q2" : "q0"), dash: at ? [6, 4] : undefined, values: line(side, side.ok.map((count) => (count * 1000) / side.slot)) }
  )), {}, "/s");
})();
