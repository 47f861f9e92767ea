// The progress of a training: epoch, speed, time left and the curves so far.

import { Section, h, number, percent } from "./parts.js";
import { Curves } from "./charts.js";

/** A section for an unfinished training; `running` says whether it is under way or was interrupted. */
export function Training({ training, running }) {
  const { epoch, epochs, step, steps, history, summary } = training;
  const done = (history.length * steps + step) / Math.max(epochs * steps, 1);
  const title = running ? `Training: epoch ${epoch} of ${epochs}` : `Training ended in epoch ${epoch} of ${epochs}`;
  const best = history.reduce((least, row) => (least && least.val_loss <= row.val_loss ? least : row), null);
  return h(
    Section,
    { title },
    h("progress", { value: done, max: 1, "aria-label": `${percent(done)} of the training is done` }),
    h(
      "p",
      { role: "status" },
      running ? `Step ${number(step)} of ${number(steps)}, ${summary}.` : "A retry of the run continues from its last checkpoint.",
      best && ` Best so far: epoch ${best.epoch}, validation accuracy ${percent(best.val_accuracy)}.`,
    ),
    history.length > 0 &&
      h(
        "div",
        { className: "figures" },
        h(Curves, { label: "Loss by epoch", epochs, rows: history, lines: { training: "loss", validation: "val_loss" } }),
        h(Curves, {
          label: "Accuracy by epoch",
          epochs,
          rows: history,
          lines: { training: "accuracy", validation: "val_accuracy" },
          most: 1,
        }),
      ),
  );
}
