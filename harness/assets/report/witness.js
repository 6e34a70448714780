// Witnesses: a step, the bars it speaks of, and the messages that carry them light up together.
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

  // On the whole document, since lists come and go.
  for (const [event, act] of [["mouseover", light], ["mouseout", dim], ["focusin", light], ["focusout", dim], ["click", light]]) {
    document.addEventListener(event, ({ target }) => {
      const element = target.closest?.("[data-witness]");
      if (element) act(element);
    });
  }
})();
