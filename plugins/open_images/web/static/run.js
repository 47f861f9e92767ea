// What the tabs of all runs share: the state of the run and why it failed, links, a comparison of two models, figures.

import {
  Inside,
  Measured,
  Notice,
  Outside,
  Section,
  Table,
  UNDER_WAY,
  fileUrl,
  fixed,
  h,
  number,
  percent,
  points,
  runPath,
} from "./parts.js";

const { Fragment } = globalThis.React;
const nameOf = (task) => task.split(".").pop();
const listed = (tasks) => tasks.map(({ task }) => nameOf(task)).join(" and ");

/**
 * The state of a run, and why it failed or was skipped; nothing for a run that succeeded and has its result.
 *
 * nothing: said while the run has not opened its folder; done: whether the run has its result; missing: said of a run
 * that succeeded without it.
 */
export function RunState({ data, dagId, nothing, done, missing }) {
  const { run, tasks, opened } = data;
  const progress = h(Progress, { tasks });
  const inState = (...states) => tasks.filter(({ state }) => states.includes(state));
  const [failed, retried, waiting] = [inState("failed"), inState("up_for_retry"), inState("awaiting_input")];
  const underWay = UNDER_WAY.includes(run.state);
  if (failed.length || run.state === "failed") {
    const others = underWay ? " Other tasks have not ended yet." : "";
    const title = failed.length ? `Failed at ${listed(failed)}.${others}` : "This run failed.";
    return h(Notice, { kind: "error", title }, h(Reason, { data, dagId, tasks: failed }), progress);
  }
  if (underWay && retried.length) {
    const title = `${listed(retried)} failed and will be tried again.`;
    return h(Notice, { kind: "warning", title }, h(Reason, { data, dagId, tasks: retried }), progress);
  }
  if (underWay) {
    const running = inState("running");
    const now = running.length ? `, working on ${listed(running)}` : "";
    const title = waiting.length
      ? `This run waits for an answer in ${listed(waiting)}.`
      : `This run is ${run.state}${now}: ${inState("success", "skipped").length} of ${tasks.length} tasks are done.`;
    return h(
      Notice,
      { title },
      waiting.map(({ task }) =>
        h("p", { key: task }, h(Inside, { to: `${runPath(run.run_id, dagId)}/tasks/${task}/required_actions` }, "Answer")),
      ),
      progress,
      !opened && h("p", null, nothing),
    );
  }
  if (!opened && tasks.length && tasks.every(({ state }) => state === "skipped")) {
    const reason = tasks.map((task) => task.reason).find((each) => each);
    return h(Notice, { title: "This run was skipped: there was nothing to do." }, reason && h("p", null, reason));
  }
  if (done) return null;
  const title = opened ? missing : "This run has no folder in the storage.";
  return h(Notice, { kind: "warning", title }, progress);
}

/** Why tasks failed, what to do, and their logs. */
const Reason = ({ data: { run, failure }, dagId, tasks }) =>
  h(
    Fragment,
    null,
    failure
      ? h("p", null, failure.message, " ", h("strong", null, failure.advice))
      : h("p", null, "The tasks did not say why: see their logs."),
    h(
      "ul",
      null,
      tasks.map(({ task }) =>
        h("li", { key: task }, h(Inside, { to: `${runPath(run.run_id, dagId)}/tasks/${task}` }, `Log of ${task}`)),
      ),
    ),
  );

const Progress = ({ tasks }) =>
  h(
    "ol",
    { className: "progress", "aria-label": "Tasks" },
    tasks.map(({ task, state }) =>
      h(
        "li",
        { key: task, className: state ?? "none" },
        nameOf(task),
        h("span", null, ` ${(state ?? "not started").replaceAll("_", " ")}`),
      ),
    ),
  );

/** Links to the pages that a run wrote; `children` come last. */
export const Links = ({ data, dagId, runId, children }) => {
  const pages = Object.entries(data.pages ?? {}).map(([page, [stage, file, title]]) =>
    h("li", { key: page }, h(Outside, { href: fileUrl(runId, stage, file, dagId) }, title)),
  );
  return h(
    "ul",
    { className: "links", "aria-label": "Links" },
    pages,
    data.mlflow && h("li", null, h(Outside, { href: data.mlflow }, "MLflow run")),
    h("li", null, h(Inside, { to: runPath(runId, dagId) }, "Tasks")),
    h("li", null, h(Inside, { to: "/plugin/models" }, "All models")),
    children,
  );
};

/** Two models on the same test faces. names: of the first one and of the other. */
export const Comparison = ({ comparison, names: [name, other] }) =>
  h(
    Fragment,
    null,
    h(Table, {
      caption: `Both models on the same ${number(comparison.faces)} test faces in ${number(comparison.images)} images, each with its own threshold`,
      columns: [
        { name: "metric", cell: ([name]) => name },
        { name, cell: ([, key, say]) => h(Measured, { of: comparison[key].model, say }) },
        {
          name: other,
          cell: ([, key, say]) => h(Measured, { of: comparison[key].baseline, say }),
        },
        { name: "difference", cell: ([, key, , say]) => h(Measured, { of: comparison[`${key}_difference`], say }) },
      ],
      rows: [
        ["accuracy (difference in points)", "accuracy", percent, points],
        ["log loss", "log_loss", fixed, fixed],
      ],
    }),
    h(
      "p",
      { className: "soft" },
      `Only ${name} is right on ${number(comparison.table.only_model)} faces; only ${other} is on ${number(comparison.table.only_baseline)}. `,
      `McNemar's exact test of equal accuracy: p = ${comparison.mcnemar.p_value.toPrecision(2)}.`,
    ),
  );

/** The figures of a run, in groups. */
export function Figures({ figures, dagId, runId }) {
  const shown = (title) => {
    const wanted = figures.filter(({ group }) => group === title);
    return (
      wanted.length > 0 &&
      h(
        Section,
        { title },
        h(
          "div",
          { className: "figures" },
          wanted.map(({ stage, path, text, wide }) => {
            const href = fileUrl(runId, stage, path, dagId);
            const label = `${text} Opens in a new tab.`;
            return h(
              "figure",
              { key: href, className: wide ? "wide" : null },
              h(
                "a",
                { href, target: "_blank", rel: "noopener noreferrer", "aria-label": label },
                h("img", { src: href, alt: text, loading: "lazy" }),
              ),
              h("figcaption", null, text),
            );
          }),
        ),
      )
    );
  };
  return h(Fragment, null, shown("Plots"), shown("Examples"), shown("The release explored"));
}
