// The tab 'Report' of a run.

import {
  Answered,
  Inside,
  Limits,
  Measured,
  Notice,
  Outside,
  PROMOTION,
  RunName,
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
  reportPath,
  runPath,
  urlOf,
  useData,
} from "./parts.js";
import { Gauge } from "./charts.js";

const { Fragment } = globalThis.React;

globalThis.Report = function Report({ dagId, runId }) {
  if (dagId !== TRAINING) {
    const told = h("p", null, "Reports are about runs of ", h(Inside, { to: `/dags/${TRAINING}` }, TRAINING), ".");
    return h(Answered, { answer: { data: {} }, show: () => told });
  }
  return h(RunReport, { key: runId, runId });
};

function RunReport({ runId }) {
  const answer = useData(urlOf("runs", TRAINING, runId), (data) => UNDER_WAY.includes(data.run.state));
  return h(Answered, {
    answer,
    show: (data) =>
      h(
        Fragment,
        null,
        h(State, { data }),
        data.evaluation && h(Headline, data),
        data.opened && h(Links, { data, runId }),
        data.opened && h(Limits, data),
        data.evaluation && h(Metrics, data),
        (data.evaluation || data.comparison) && h(Champion, data),
        data.ledgers?.length > 0 && h(Ledger, data),
        data.figures?.length > 0 && h(Figures, { figures: data.figures, runId }),
        data.parameters && h(Parameters, data),
      ),
  });
}

const stageOf = (task) => task.split(".").pop().replaceAll("_", " ");

/** How far a run has come, unless it has simply ended well. */
function State({ data: { run, tasks, opened, failure, evaluation } }) {
  const ended = tasks.filter(({ state }) => ["success", "skipped"].includes(state)).length;
  const running = tasks.filter(({ state }) => state === "running").map(({ task }) => stageOf(task));
  const progress = h(Progress, { tasks });
  if (UNDER_WAY.includes(run.state)) {
    const now = running.length ? `, at work on ${running.join(" and ")}` : "";
    return h(
      Notice,
      { title: `This run is ${run.state}${now}: ${ended} of ${tasks.length} tasks have ended.` },
      progress,
      !opened && h("p", null, "It has not looked at the release yet, so there is nothing to tell of it."),
    );
  }
  const failed = tasks.filter(({ state }) => state === "failed");
  if (failed.length) {
    return h(
      Notice,
      { kind: "error", title: `Failed at ${failed.map(({ task }) => stageOf(task)).join(" and ")}.` },
      failure && h("p", null, `${failure.message} ${failure.advice}`),
      h(
        "ul",
        null,
        failed.map(({ task }) =>
          h("li", { key: task }, h(Inside, { to: `${runPath(run.run_id)}/tasks/${task}` }, `Log of ${task}`)),
        ),
      ),
      progress,
    );
  }
  if (!opened && tasks.length && tasks.every(({ state }) => state === "skipped")) {
    return h(
      Notice,
      { title: "This run was skipped." },
      h("p", null, "Nothing was delivered in its interval, so there was nothing to learn."),
    );
  }
  if (!opened) return h(Notice, { kind: "warning", title: "This run has left no folder in the storage." }, progress);
  return evaluation ? null : h(Notice, { kind: "warning", title: "This run has no evaluation." }, progress);
}

const Progress = ({ tasks }) =>
  h(
    "ol",
    { className: "progress", "aria-label": "Tasks" },
    tasks.map(({ task, state }) =>
      h("li", { key: task, className: state ?? "none" }, stageOf(task), h("span", null, ` ${state ?? "not begun"}`)),
    ),
  );

const Headline = ({ evaluation: { accuracy, majority, beats_majority, faces, images } }) =>
  h(
    "div",
    { className: "headline" },
    h("div", { className: "figure" }, percent(accuracy.value)),
    h(
      "p",
      null,
      `accuracy on ${number(faces)} test faces of ${number(images)} images, 95% interval ${percent(accuracy.low)} to `,
      `${percent(accuracy.high)}; always “${majority.label}” has ${percent(majority.value)}`,
    ),
    h(Gauge, { accuracy, majority }),
    h(
      "p",
      null,
      "The model is ",
      h("strong", null, beats_majority ? "distinguishable" : "not distinguishable", " from guessing"),
      beats_majority ? "." : ": its interval does not lie above that baseline.",
    ),
  );

const Links = ({ data, runId }) => {
  const pages = Object.entries(data.pages).map(([page, [stage, file, title]]) =>
    h("li", { key: page }, h(Outside, { href: fileUrl(runId, stage, file) }, title)),
  );
  return h(
    "ul",
    { className: "links", "aria-label": "Links" },
    pages,
    data.mlflow && h("li", null, h(Outside, { href: data.mlflow }, "MLflow run")),
    h("li", null, h(Inside, { to: runPath(runId) }, "Tasks")),
    h("li", null, h(Inside, { to: "/plugin/models" }, "All models")),
  );
};

function Metrics({ evaluation: told }) {
  const rows = [
    ["accuracy", told.accuracy],
    [`majority baseline (always “${told.majority.label}”)`, told.majority],
    ["balanced accuracy", told.balanced_accuracy],
    ...Object.entries(told.by_label).flatMap(([label, row]) => [
      [`recall of ${label}`, row.recall],
      [`precision of ${label}`, row.precision],
      [`F1 of ${label}`, row.f1],
    ]),
    ["recall gap, in points", told.recall_gap, points],
    ["area under the ROC curve", told.auc, fixed],
    ["log loss (a coin has 0.693)", told.log_loss, fixed],
    ["expected calibration error", told.ece, fixed],
    ["coverage, where unsure faces are 'unknown'", told.abstention?.coverage],
    ["accuracy of the answered", told.abstention?.accuracy],
    [
      told.worst_slice ? `worst slice: ${told.worst_slice.title}, ${told.worst_slice.name}` : "",
      told.worst_slice?.accuracy,
    ],
  ].filter(([, value]) => value);
  return h(
    Section,
    { title: "Metrics" },
    h(Table, {
      caption: "On the test split, with 95% intervals that resample images",
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

/** This run's model beside the champion, and beside the baseline that the run itself was compared with. */
function Champion({ model, evaluation, comparison }) {
  const { data: registry, error } = useData(urlOf("models"));
  const { data: all } = useData(urlOf("history"));
  const champion = registry?.champion;
  const measured = newestOf(all?.runs.filter((row) => row.model === champion && row.accuracy) ?? []);
  const version = registry?.versions.find((row) => row.model === model);
  let told = error ? `The registry cannot be read: ${error}` : "No champion has been promoted yet.";
  if (champion === model && champion) told = "This model is the champion.";
  else if (champion) told = "The champion is another model.";
  return h(
    Section,
    { title: "Beside the champion" },
    (registry || error) &&
      h(
        "p",
        null,
        told,
        version?.decision ? ` Last decision about this one: ${version.decision} ${version.decided}. ` : " ",
        version?.compared &&
          h(
            Outside,
            { href: fileUrl(version.compared, "compare", "compare.html", PROMOTION) },
            "Both on the same faces, as its promotion compared them",
          ),
      ),
    champion &&
      champion !== model &&
      measured &&
      evaluation &&
      h(Table, {
        caption: "Each on the test faces of its own run, so that they compare only where these are the same",
        columns: [
          { name: "model", cell: (row) => row.name },
          { name: "accuracy", cell: (row) => h(Measured, { of: row.accuracy }) },
          { name: "faces", number: true, cell: (row) => number(row.accuracy.count) },
        ],
        rows: [
          { name: "this run's", accuracy: evaluation.accuracy },
          {
            name: h(RunName, { row: measured }, `champion, of ${measured.run_id}`),
            accuracy: measured.accuracy,
          },
        ],
      }),
    comparison && h(Comparison, { comparison, champion }),
  );
}

const Comparison = ({ comparison: told, champion }) =>
  h(
    Fragment,
    null,
    h(Table, {
      caption: `Both models on the same ${number(told.faces)} test faces of ${number(told.images)} images, each by its own threshold`,
      columns: [
        { name: "metric", cell: ([name]) => name },
        { name: "this model", cell: ([, key, say]) => h(Measured, { of: told[key].model, say }) },
        {
          name: told.models.baseline.attempt === champion ? "champion" : "baseline",
          cell: ([, key, say]) => h(Measured, { of: told[key].baseline, say }),
        },
        { name: "difference", cell: ([, key, , say]) => h(Measured, { of: told[`${key}_difference`], say }) },
      ],
      rows: [
        ["accuracy (difference in points)", "accuracy", percent, points],
        ["log loss", "log_loss", fixed, fixed],
      ],
    }),
    h(
      "p",
      { className: "soft" },
      `Right only with this model: ${number(told.table.only_model)} faces; only with the other: ${number(told.table.only_baseline)}. `,
      `McNemar's exact test of equal accuracy: p = ${told.mcnemar.p_value.toPrecision(2)}.`,
    ),
  );

function Ledger({ ledgers, splits }) {
  const kept =
    splits && Object.entries(splits).map(([split, labels]) => ({ split, labels, all: sum(Object.values(labels)) }));
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
            cell: (row) => number(row.labels[label]),
          })),
          { name: "together", number: true, cell: (row) => number(row.all) },
        ],
        rows: kept,
      }),
  );
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

function Figures({ figures, runId }) {
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
            const href = fileUrl(runId, stage, path);
            const label = `${text} Open in a tab of its own.`;
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
        `The run saw ${dated.length ? `the deliveries ${dated.join(", ")}` : "a plain release"}${seen}.`,
    ),
    h(
      "details",
      null,
      h("summary", null, `All ${parameters.length} values of the form`),
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
