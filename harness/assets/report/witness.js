// Witnesses: a step and the bars it speaks of light up together.
"use strict";

(() => {
  const of = (number) => [...document.querySelectorAll(`[data-witness="${number}"]`)];
  const labels = (element) => (element.dataset.labels ?? element.dataset.label ?? "").split(" ").filter(Boolean);

  function light(element) {
    const wanted = labels(element);
    for (const other of of(element.dataset.witness)) {
      const lit = labels(other).some((label) => wanted.includes(label));
      // From a step only to bars, from a bar to bars of the same name and to steps.
      other.classList.toggle("lit", other === element || (lit && !(element.dataset.labels !== undefined && other.dataset.labels !== undefined)));
    }
  }

  function dim(element) {
    for (const other of of(element.dataset.witness)) other.classList.remove("lit");
  }

  for (const element of document.querySelectorAll("[data-witness]")) {
    element.addEventListener("mouseenter", () => light(element));
    element.addEventListener("mouseleave", () => dim(element));
    element.addEventListener("focus", () => light(element));
    element.addEventListener("blur", () => dim(element));
    element.addEventListener("click", () => light(element));
  }
})();
