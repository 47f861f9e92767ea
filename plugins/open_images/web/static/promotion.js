// The tab 'Report' of runs that promote or compare models.

import {
  COMPARISON,
  Inside,
  Limits,
  Measured,
  Notice,
  PROMOTION,
  Section,
  Table,
  fixed,
  h,
  minute,
  number,
  percent,
  reportPath,
  runPath,
} from "./parts.js";
import { Comparison, Figures, Links, RunState } from "./run.js";
import { EpochsChart } from "./charts.js";

const { Fragment } = globalThis.React;

export function PromotionReport({ data, runId }) {
  const { verdict, decision, models, comparison, figures } = data;
  const done = decision || taskOf(data, "move_back")?.state === "success";
  const nothing = "Nothing to show yet: the run has not chosen a candidate.";
  return h(
    Fragment,
    null,
    h(RunState, { data, dagId: PROMOTION, nothing, done, missing: "No decision has been made." }),
    h(Outcome, { data, runId }),
    h(Links, { data, dagId: PROMOTION, runId }),
    h(Limits, data),
    verdict && h(Verdict, { verdict }),
    models && h(Models, { models }),
    comparison &&
      h(
        Section,
        { title: "Both models on the same faces" },
        h(Comparison, { comparison, names: ["the candidate", "the champion"] }),
      ),
    models && h(Curves, { models }),
    figures?.length > 0 && h(Figures, { figures, dagId: PROMOTION, runId }),
  );
}

export function ComparisonReport({ data, runId }) {
  const { comparison, figures } = data;
  const nothing = "Nothing to show yet: the run has not found the models.";
  return h(
    Fragment,
    null,
    h(RunState, { data, dagId: COMPARISON, nothing, done: comparison, missing: "This run has no comparison." }),
    h(Links, { data, dagId: COMPARISON, runId }),
    h(Limits, data),
    comparison && h(Comparison, { comparison, names: ["the model", "the baseline"] }),
    figures?.length > 0 && h(Figures, { figures, dagId: COMPARISON, runId }),
  );
}

const taskOf = (data, name) => data.tasks.find(({ task }) => task === name);

/** What came of a promotion, in one sentence with its reasons. */
function Outcome({ data, runId }) {
  const { decision, verdict, models } = data;
  const version = models?.candidate && `version ${models.candidate.number}`;
  if (taskOf(data, "move_back")?.state === "success") {
    return h(Notice, { title: "The champion was moved back: the previous one is champion again." });
  }
  if (!decision) {
    const waits = verdict?.passed && taskOf(data, "approve")?.state === "awaiting_input";
    if (!waits) return null;
    const to = `${runPath(runId, PROMOTION)}/tasks/approve/required_actions`;
    const title = `The gate passes ${version}. It becomes champion if a person approves it.`;
    return h(Notice, { title }, h("p", null, h(Inside, { to }, "Approve or reject it")));
  }
  const titles = {
    promoted: `Promoted: ${version} became champion.`,
    refused: `Refused: the gate did not pass ${version}, and the champion stays.`,
    rejected: `Rejected: ${version} was not promoted.`,
    "timed out": `Timed out: nobody answered, so ${version} was not promoted.`,
  };
  const failed = verdict?.rules.filter(({ passed }) => !passed) ?? [];
  return h(
    Notice,
    { kind: decision.decision === "promoted" ? "success" : "error", title: titles[decision.decision] ?? decision.decision },
    failed.length > 0
      ? h("ul", null, failed.map((rule) => h("li", { key: rule.name }, `Not fulfilled: ${rule.title}. ${rule.told}`)))
      : h("p", null, decision.how, decision.at && `, ${minute(decision.at)}`),
  );
}

const VERDICT = [
  { name: "metric", cell: (row) => row.metric },
  { name: "candidate", number: true, value: "candidate", cell: (row) => fixed(row.candidate) },
  { name: "champion", number: true, value: "champion", cell: (row) => fixed(row.champion) },
  { name: "difference", number: true, value: "difference", cell: (row) => fixed(row.difference) },
  {
    name: "95% interval",
    number: true,
    value: "low",
    cell: (row) => (row.low == null ? "" : `${fixed(row.low)} to ${fixed(row.high)}`),
  },
  { name: "faces", number: true, cell: (row) => number(row.faces) },
];

const Verdict = ({ verdict: { rules, rows, passed } }) =>
  h(
    Section,
    { title: passed ? "Verdict: passed" : "Verdict: refused" },
    h(Table, {
      caption: "Rules of the gate",
      columns: [
        { name: "rule", cell: (rule) => rule.title },
        { name: "result", cell: (rule) => h("strong", { className: rule.passed ? "good" : "bad" }, rule.passed ? "yes" : "no") },
        { name: "measured", cell: (rule) => rule.told },
      ],
      rows: rules,
    }),
    h(Table, {
      caption: rows.some((row) => row.champion != null)
        ? "Metrics of both models on the same test faces; difference is candidate minus champion"
        : "Metrics of the candidate on its test faces",
      columns: VERDICT.filter(({ value }) => !value || rows.some((row) => row[value] != null)),
      rows,
    }),
  );

/** Both models as each was evaluated in its own run. */
function Models({ models }) {
  const roles = Object.keys(models);
  const evaluated = roles.filter((role) => models[role].evaluation);
  const rows = [
    ["accuracy", "accuracy", percent],
    ["majority baseline", "majority", percent],
    ["balanced accuracy", "balanced_accuracy", percent],
    ["area under the ROC curve", "auc", fixed],
    ["log loss", "log_loss", fixed],
    ["Brier score", "brier", fixed],
    ["expected calibration error", "ece", fixed],
  ].filter(([, key]) => evaluated.some((role) => models[role].evaluation[key]));
  return h(
    Section,
    { title: "Models" },
    h(Table, {
      caption: "The versions",
      columns: [
        { name: "role", cell: (role) => role },
        { name: "version", number: true, cell: (role) => models[role].number },
        {
          name: "training run",
          cell: (role) => {
            const { run_id: run } = models[role];
            return run ? h(Inside, { to: reportPath(run) }, run) : "not in Airflow";
          },
        },
        { name: "data as of", cell: (role) => minute(models[role].as_of) },
      ],
      rows: roles,
    }),
    evaluated.length > 0 &&
      h(Table, {
        caption: "Each on the test faces of its own run",
        columns: [
          { name: "metric", cell: ([name]) => name },
          ...evaluated.map((role) => ({
            name: role,
            cell: ([, key, say]) => h(Measured, { of: models[role].evaluation[key], say }),
          })),
        ],
        rows,
      }),
  );
}

/** The training curves of both models in one chart for each quantity. */
function Curves({ models }) {
  const roles = Object.keys(models).filter((role) => models[role].history?.length);
  if (!roles.length) return null;
  const lines = (key) =>
    roles.flatMap((role) => [
      { name: `${role}, validation`, className: role, values: models[role].history.map((row) => row[`val_${key}`]) },
      { name: `${role}, training`, className: `${role} dashed`, values: models[role].history.map((row) => row[key]) },
    ]);
  const marked = roles
    .filter((role) => models[role].best_epoch)
    .map((role) => ({ epoch: models[role].best_epoch, name: `${role}: the epoch that was kept`, className: role }));
  return h(
    Section,
    { title: "Training curves" },
    h("p", { className: "soft" }, "A vertical line marks the epoch whose weights were kept."),
    h(EpochsChart, { label: "Loss", lines: lines("loss"), say: (value) => value.toPrecision(2), marked }),
    h(EpochsChart, { label: "Accuracy", lines: lines("accuracy"), say: (value) => `${Math.round(100 * value)}%`, marked }),
  );
}
