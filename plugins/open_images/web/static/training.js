// The progress of a training: epoch, speed, time left and the curves so far.

import { Section, h, number, percent } from "./parts.js";
import { EpochsChart } from "./charts.js";

/** A section for an unfinished training; `running` says whether it is under way or was interrupted. */
export function Training({ training, running }) {
  const { epoch, epochs, step, steps, history, ended, summary } = training;
  const done = ended ? 1 : (history.length * steps + step) / Math.max(epochs * steps, 1);
  const state = !running
    ? "A retry of the run continues from its last checkpoint."
    : ended
      ? "The epochs are done. The model is being calibrated, checked and written."
      : `Step ${number(step)} of ${number(steps)}, ${summary}.`;
  const title = running ? `Training: epoch ${epoch} of ${epochs}` : `Training ended in epoch ${epoch} of ${epochs}`;
  const best = history.reduce((least, row) => (least && least.val_loss <= row.val_loss ? least : row), null);
  // Epochs that have not come yet are gaps, so that the axis shows how many there will be.
  const overEpochs = (field) => Array.from({ length: epochs }, (_, index) => history[index]?.[field] ?? null);
  const lines = (field) => [
    { name: "training", className: "champion dashed", values: overEpochs(field) },
    { name: "validation", className: "candidate", values: overEpochs(`val_${field}`) },
  ];
  return h(
    Section,
    { title },
    h("progress", { value: done, max: 1, "aria-label": `${percent(done)} of the training is done` }),
    h(
      "p",
      { role: "status" },
      state,
      best && ` Best so far: epoch ${best.epoch}, validation accuracy ${percent(best.val_accuracy)}.`,
    ),
    history.length > 0 &&
      h(
        "div",
        { className: "figures" },
        h(EpochsChart, { label: "Loss", lines: lines("loss"), say: (value) => value.toPrecision(2) }),
        h(EpochsChart, { label: "Accuracy", lines: lines("accuracy"), say: percent }),
      ),
  );
}
