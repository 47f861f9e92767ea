// The tab 'Report' of a run: of a training run here; those of other runs are in modules of their own.

import {
  COMPARISON,
  Inside,
  Limits,
  Loaded,
  Measured,
  Notice,
  Outside,
  PREDICTION,
  PROMOTION,
  RunName,
  SWEEP,
  Section,
  Table,
  TRAINING,
  UNDER_WAY,
  fileUrl,
  fixed,
  h,
  minute,
  newestOf,
  number,
  percent,
  points,
  urlOf,
  useData,
} from "./parts.js";
import { Comparison, Figures, Links, RunState } from "./run.js";
import { ComparisonReport, PromotionReport } from "./promotion.js";
import { Gauge } from "./charts.js";
import { PredictionReport } from "./predictions.js";
import { Training } from "./training.js";

const { Fragment } = globalThis.React;

const REPORTS = {
  [TRAINING]: TrainingReport,
  [PROMOTION]: PromotionReport,
  [PREDICTION]: PredictionReport,
  [COMPARISON]: ComparisonReport,
  [SWEEP]: SweepReport,
};

globalThis.Report = function Report({ dagId, runId }) {
  if (!(dagId in REPORTS)) {
    const note = h("p", null, "Runs of this DAG have no report. Those of ", h(Inside, { to: `/dags/${TRAINING}` }, TRAINING), " do.");
    return h(Loaded, { answer: { data: {} }, show: () => note });
  }
  return h(RunReport, { key: runId, dagId, runId });
};

function RunReport({ dagId, runId }) {
  const answer = useData(urlOf("runs", dagId, runId), (data) => UNDER_WAY.includes(data.run.state));
  return h(Loaded, { answer, show: (data) => h(REPORTS[dagId], { data, runId }) });
}

function TrainingReport({ data, runId }) {
  const nothing = "Nothing to show yet: the run has not read the release.";
  return h(
    Fragment,
    null,
    h(RunState, { data, dagId: TRAINING, nothing, done: data.evaluation, missing: "This run has no evaluation." }),
    data.training && h(Training, { training: data.training, running: UNDER_WAY.includes(data.run.state) }),
    data.evaluation && h(Headline, data),
    data.evaluation?.drift && h(Drift, data.evaluation.drift),
    data.opened && h(Links, { data, dagId: TRAINING, runId }),
    data.opened && h(Limits, data),
    data.evaluation && h(Metrics, data),
    (data.evaluation || data.comparison) && h(Champion, data),
    data.ledgers?.length > 0 && h(Ledger, data),
    data.figures?.length > 0 && h(Figures, { figures: data.figures, dagId: TRAINING, runId }),
    data.parameters && h(Parameters, data),
  );
}

/** A sweep: its page holds the table of its trainings. */
function SweepReport({ data, runId }) {
  const [stage, file, title] = data.pages?.sweep ?? [];
  return h(
    Fragment,
    null,
    h(RunState, { data, dagId: SWEEP, nothing: "Nothing to show yet: the sweep has not read the release.", done: stage, missing: "This sweep has no result." }),
    data.opened && h(Links, { data, dagId: SWEEP, runId }),
    data.opened && h(Limits, data),
    stage && h("iframe", { className: "page", title, src: fileUrl(runId, stage, file, SWEEP) }),
    data.ledgers?.length > 0 && h(Ledger, data),
    data.parameters && h(Parameters, data),
  );
}

const Headline = ({ evaluation: { accuracy, majority, beats_majority, faces, images } }) =>
  h(
    "div",
    { className: "headline" },
    h("div", { className: "figure" }, percent(accuracy.value)),
    h(
      "p",
      null,
      `accuracy on ${number(faces)} test faces in ${number(images)} images, 95% interval ${percent(accuracy.low)} to `,
      `${percent(accuracy.high)}; always predicting “${majority.label}” reaches ${percent(majority.value)}`,
    ),
    h(Gauge, { accuracy, majority }),
    h(
      "p",
      null,
      "The model is ",
      h("strong", null, beats_majority ? "distinguishable" : "not distinguishable", " from guessing"),
      beats_majority ? "." : ": its interval is not entirely above that baseline.",
    ),
  );

/** Whether the data have drifted since the run that they were compared with. */
const Drift = ({ level, line }) =>
  level === "none" ? h("p", { className: "soft" }, line) : h(Notice, { kind: "warning", title: line });

function Metrics({ evaluation }) {
  const rows = [
    ["accuracy", evaluation.accuracy],
    [`majority baseline (always “${evaluation.majority.label}”)`, evaluation.majority],
    ["balanced accuracy", evaluation.balanced_accuracy],
    ...Object.entries(evaluation.by_label).flatMap(([label, row]) => [
      [`recall of ${label}`, row.recall],
      [`precision of ${label}`, row.precision],
      [`F1 of ${label}`, row.f1],
    ]),
    ["recall gap, in points", evaluation.recall_gap, points],
    ["area under the ROC curve", evaluation.auc, fixed],
    ["log loss (0.693 for a coin toss)", evaluation.log_loss, fixed],
    ["Brier score (0.25 for a coin toss)", evaluation.brier, fixed],
    ["expected calibration error", evaluation.ece, fixed],
    ["coverage when unsure faces are 'unknown'", evaluation.abstention?.coverage],
    ["accuracy on the others", evaluation.abstention?.accuracy],
    [
      evaluation.worst_slice ? `worst slice: ${evaluation.worst_slice.title}, ${evaluation.worst_slice.name}` : "",
      evaluation.worst_slice?.accuracy,
    ],
  ].filter(([, value]) => value);
  return h(
    Section,
    { title: "Metrics" },
    h(Table, {
      caption: "On the test split, with 95% intervals from resampled images",
      columns: [
        { name: "metric", cell: ([name]) => name },
        { name: "value", cell: ([, of, say]) => h(Measured, { of, say }) },
        { name: "faces", number: true, cell: ([, of]) => number(of.count) },
        { name: "images", number: true, cell: ([, of]) => number(of.images) },
      ],
      rows,
    }),
  );
}

/** This run's model compared with the champion, and with the run's own baseline. */
function Champion({ model, evaluation, comparison }) {
  const { data: registry, error } = useData(urlOf("models"));
  const { data: all } = useData(urlOf("history"));
  const champion = registry?.champion;
  const measured = newestOf(all?.runs.filter((row) => row.model === champion && row.accuracy) ?? []);
  const version = registry?.versions.find((row) => row.model === model);
  let standing = error ? `The registry cannot be read: ${error}` : "No model has been promoted to champion yet.";
  if (champion === model && champion) standing = "This model is the champion.";
  else if (champion) standing = "Another model is the champion.";
  return h(
    Section,
    { title: "Comparison with the champion" },
    (registry || error) &&
      h(
        "p",
        null,
        standing,
        version?.decision ? ` Last decision about this model: ${version.decision} ${version.decided}. ` : " ",
        version?.compared &&
          h(
            Outside,
            { href: fileUrl(version.compared, "compare", "compare.html", PROMOTION) },
            "Comparison of both on the same faces, from its promotion",
          ),
      ),
    champion &&
      champion !== model &&
      measured &&
      evaluation &&
      h(Table, {
        caption: "Each on the test faces of its own run; comparable only if both runs have the same test faces",
        columns: [
          { name: "model", cell: (row) => row.name },
          { name: "accuracy", cell: (row) => h(Measured, { of: row.accuracy }) },
          { name: "faces", number: true, cell: (row) => number(row.accuracy.count) },
        ],
        rows: [
          { name: "this run's", accuracy: evaluation.accuracy },
          {
            name: h(RunName, { row: measured }, `champion, from ${measured.run_id}`),
            accuracy: measured.accuracy,
          },
        ],
      }),
    comparison &&
      h(Comparison, {
        comparison,
        names: ["this model", comparison.models.baseline.attempt === champion ? "champion" : "baseline"],
      }),
  );
}

function Ledger({ ledgers, splits, left_out: leftOut }) {
  const kept =
    splits && Object.entries(splits).map(([split, labels]) => ({ split, labels, all: sum(Object.values(labels)) }));
  const others = Object.entries(leftOut)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => ({ split: `left out: ${reason}`, labels: {}, all: count }));
  return h(
    Section,
    { title: "Where the faces went" },
    ledgers.map((ledger) => {
      const rows = ledger.rows.filter(([reason, count]) => count > 0 || reason === ledger.kept);
      return h(Table, {
        key: ledger.stage,
        caption: `${ledger.title}: ${number(ledger.total)} (stage ${ledger.stage.replaceAll("_", " ")})`,
        columns: [
          { name: "outcome", cell: ([reason]) => reason },
          { name: "faces", number: true, cell: ([, count]) => number(count) },
          {
            name: "share",
            number: true,
            cell: ([, count]) => [
              percent(ledger.total ? count / ledger.total : null),
              h(
                "span",
                { key: "bar", className: "bars", "aria-hidden": true },
                h("span", { className: "bar", style: { width: `${(7 * count) / (ledger.total || 1)}rem` } }),
              ),
            ],
          },
        ],
        rows,
        mark: ([reason]) => (reason === ledger.kept ? "kept" : null),
      });
    }),
    kept &&
      h(Table, {
        caption: `Kept faces by split and label: ${number(sum(kept.map(({ all }) => all)))}`,
        columns: [
          { name: "split", cell: (row) => row.split },
          ...Object.keys(kept[0].labels).map((label) => ({
            name: label,
            number: true,
            cell: (row) => (label in row.labels ? number(row.labels[label]) : ""),
          })),
          { name: "total", number: true, cell: (row) => number(row.all) },
        ],
        rows: [...kept, ...others],
      }),
  );
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

function Parameters({ parameters, as_of, deliveries }) {
  const seen = as_of ? `, as of ${minute(as_of)}` : "";
  const dated = deliveries.filter((name) => /^\d/.test(name));
  return h(
    Section,
    { title: "Parameters" },
    h(
      "p",
      null,
      deliveries.length > 0 &&
        `The run used ${dated.length ? `the deliveries ${dated.join(", ")}` : "a release without deliveries"}${seen}.`,
    ),
    h(
      "details",
      null,
      h("summary", null, `All ${parameters.length} parameters`),
      h(Table, {
        caption: "Parameters of this run",
        columns: [
          { name: "parameter", cell: (row) => row.title },
          { name: "name", cell: (row) => h("code", null, row.name) },
          { name: "value", cell: (row) => h("span", { className: "breaks" }, row.value || "–") },
          { name: "section", cell: (row) => row.section },
        ],
        rows: parameters,
      }),
    ),
  );
}
