// A run that goes on: counts from the server twice a second, drawn as rates.
"use strict";

(() => {
  const section = document.getElementById("live");
  const state = document.getElementById("live-state");
  const place = document.getElementById("live-chart");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const values = [[], [], [], []];
  let last = null;
  const axis = { stroke: colour("muted"), grid: { stroke: colour("grid"), width: 1 } };
  const chart = new uPlot({
    width: place.clientWidth, height: 240, scales: { x: { time: false } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => tick + " s") }, { ...axis, size: 66, values: (_, ticks) => ticks.map((tick) => tick + "/s") }],
    series: [{ label: "at" }, { label: "ok", stroke: colour("ok"), width: 2 }, { label: "fail", stroke: colour("fail"), dash: [8, 4] }, { label: "info", stroke: colour("info"), dash: [3, 3] }],
  }, values, place);

  const source = new EventSource("/live/" + section.dataset.run);
  source.onmessage = (message) => {
    const now = JSON.parse(message.data);
    const faults = now.faults.length ? `under ${now.faults.join("; ")}` : "no fault";
    state.textContent = `${(now.time_ms / 1000).toFixed(1)} of ${(section.dataset.limit / 1000).toFixed(0)} s: ${now.ok} ok, ${now.fail} fail, ${now.info} info; ${faults}${now.checked ? `; ${now.checked}` : ""}`;
    if (last && now.time_ms > last.time_ms) {
      const seconds = (now.time_ms - last.time_ms) / 1000;
      values[0].push(now.time_ms / 1000);
      ["ok", "fail", "info"].forEach((name, at) => values[at + 1].push(Math.round((now[name] - last[name]) / seconds)));
      chart.setData(values);
    }
    last = now;
    if (now.verdict) {
      source.close();
      state.textContent += `; verdict: ${now.verdict}`;
      // The page of a run that is over has its files.
      setTimeout(() => location.reload(), 1500);
    }
  };
  source.onerror = () => { state.textContent += " (the server does not answer)"; };
  addEventListener("resize", () => chart.setSize({ width: place.clientWidth, height: 240 }));
})();
