// What belongs to the whole page: copying commands, showing a witness elsewhere, and the charts once all is in place.
"use strict";

(() => {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      // A page from a file may not reach the clipboard: then the command is marked, to be copied by hand.
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(button.previousElementSibling);
        button.textContent = "marked";
      }
    });
  }

  for (const button of document.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => {
      const from = Number(button.dataset.from), to = Number(button.dataset.to);
      if (button.dataset.show === "messages") {
        const diagram = document.getElementById(`messages-${button.dataset.number}`);
        diagram.open = true;
        diagram.scrollIntoView();
        diagram.querySelector("summary").focus({ preventScroll: true });
      } else if (button.dataset.show === "timeline") {
        report.timeline.show(from, to);
        document.getElementById("timeline").scrollIntoView();
        document.getElementById("timeline-view").focus({ preventScroll: true });
      } else {
        report.surroundings.show(from - 20000, to + 20000);
      }
    });
  }

  // On paper everything is open.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));

  report.charts.drawAll();
  Promise.all([report.timeline.ready, report.messages.ready, report.surroundings.ready]).then(
    () => (document.documentElement.dataset.ready = "yes"),
    (error) => {
      document.documentElement.dataset.ready = "failed";
      document.getElementById("timeline-range").textContent = `this browser cannot unpack the page: ${error.message}`;
    },
  );
})();
