// The page 'Models': one row for each trained model, the champion, the decisions, and the comparison of any two.

import {
  Inside,
  Limits,
  Loaded,
  Measured,
  Notice,
  RunName,
  Section,
  Table,
  TRAINING,
  UNDER_WAY,
  day,
  h,
  minute,
  newestOf,
  number,
  runPath,
  urlOf,
  useData,
} from "./parts.js";
import { FacesChart, ShareChart } from "./charts.js";
import { ModelsTable } from "./models_table.js";

const { Fragment } = globalThis.React;
const SPLITS = ["train", "validation", "test"];

globalThis.Models = function Models() {
  const answer = useData(urlOf("history"), ({ runs }) => runs.some(({ state }) => UNDER_WAY.includes(state)));
  const registry = useData(urlOf("models"));
  // Both before either is shown: without the registry, every model would be called "not registered" for a moment.
  const both = registry.data || registry.error ? answer : { error: answer.error };
  return h(Loaded, { answer: both, show: ({ runs }) => h(History, { runs, registry }) });
};

/**
 * Return one row for each model, oldest first. Its fields are those of the newest run that has them; `runs` are all runs
 * that use it, `version` is its registered version (undefined if there is none or the registry cannot be read: `known` is
 * false then), `role` is champion, previous or empty.
 */
function modelsOf(runs, registry) {
  const byModel = new Map();
  for (const run of runs.filter(({ model }) => model)) {
    byModel.set(run.model, [...(byModel.get(run.model) ?? []), run]);
  }
  const rows = [...byModel.values()].map((users) => {
    const { model } = users[0];
    const shown = newestOf(users.filter((run) => run.accuracy)) ?? newestOf(users);
    const version = registry?.versions.find((each) => each.model === model);
    const role = { [registry?.previous]: "previous", [registry?.champion]: "champion" }[model] ?? "";
    return { ...shown, runs: users, version, known: Boolean(registry), role };
  });
  return labelled(rows);
}

/** Add to each row a `label` for the charts that no other has: its version, or else the day, or the minute, or the run. */
function labelled(rows) {
  const candidates = (row) => [
    row.version && `version ${row.version.number}`,
    day(row.as_of ?? row.finished),
    row.finished && row.finished.slice(5, 16).replace("T", " "),
    row.run_id,
  ];
  const common = (name) => rows.filter((row) => candidates(row).includes(name)).length > 1;
  return rows.map((row) => ({ ...row, label: candidates(row).find((name) => name && !common(name)) ?? row.model }));
}

function History({ runs, registry: { data: registry, error } }) {
  const rows = modelsOf(runs, registry);
  const others = runs.filter(({ model }) => !model).reverse();
  if (!runs.length) {
    return h(
      Notice,
      { title: "No model has been trained yet." },
      h("p", null, "Trigger ", h(Inside, { to: `/dags/${TRAINING}` }, TRAINING), " to train one."),
    );
  }
  return h(
    Fragment,
    null,
    h("h1", null, "Models"),
    registry && h(Limits, registry),
    h(Champion, { rows, registry, error }),
    rows.length > 0 && h(ModelsTable, { rows: [...rows].reverse() }),
    rows.length > 0 && h(Charts, { rows }),
    others.length > 0 && h(Section, { title: "Runs without a model" }, h(Others, { rows: others })),
  );
}

function Champion({ rows, registry, error }) {
  const row = rows.find(({ role }) => role === "champion");
  if (error) return h(Notice, { kind: "warning", title: "The registry cannot be read." }, h("p", null, error));
  if (!registry) return null;
  if (!registry.champion) return h("p", null, "No model has been promoted to champion yet.");
  const version = registry.versions.find(({ model }) => model === registry.champion);
  return h(
    "p",
    { className: "headline" },
    `The champion is version ${version?.number ?? "?"}`,
    row && [" from ", h(RunName, { key: "run", row })],
    row?.accuracy && [": accuracy ", h(Measured, { key: "accuracy", of: row.accuracy })],
    ".",
  );
}

const Charts = ({ rows }) =>
  h(
    Fragment,
    null,
    h(
      Section,
      { title: "Accuracy" },
      h(
        "p",
        { className: "soft" },
        "On the test split of each model's run, with 95% intervals. The dashed line is the majority baseline. A ring marks the champion.",
      ),
      h(ShareChart, {
        label: "Accuracy of each model, oldest first",
        rows,
        of: (row) => row.accuracy,
        baseline: (row) => row.majority?.value,
        mark: (row) => row.role,
      }),
    ),
    rows.some((row) => row.worst_slice) &&
      h(
        Section,
        { title: "Worst slice" },
        h(
          "p",
          { className: "soft" },
          "Lowest accuracy of each model on a slice with enough faces. The table names the slice.",
        ),
        h(ShareChart, {
          label: "Accuracy on the worst slice of each model, oldest first",
          rows,
          of: (row) => row.worst_slice?.accuracy,
          mark: (row) => row.role,
        }),
      ),
    h(
      Section,
      { title: "Data" },
      h(
        "p",
        { className: "soft legend" },
        "Faces kept for each model: ",
        SPLITS.map((split) => h("span", { key: split }, h("i", { className: `split ${split}` }), split)),
      ),
      h(FacesChart, { label: "Kept faces of each model by split, oldest first", rows, splits: SPLITS }),
    ),
  );

/** What became of a run that trained no model. */
function outcome({ state, why }) {
  if (!state) return "not in Airflow, no model";
  if (state === "success") return why ? `skipped: ${why}` : "no model";
  return why ? `${state}: ${why}` : state;
}

const Others = ({ rows }) =>
  h(Table, {
    caption: `${number(rows.length)} runs that were skipped, failed or have not trained yet, newest first`,
    columns: [
      { name: "run", cell: (row) => h(RunName, { row }) },
      { name: "due", cell: (row) => h("span", { className: "nowrap" }, minute(row.run_after)) },
      { name: "data as of", cell: (row) => h("span", { className: "nowrap" }, minute(row.as_of)) },
      { name: "outcome", cell: (row) => h("span", { className: "sentence" }, outcome(row)) },
      { name: "links", cell: (row) => row.state && h(Inside, { to: runPath(row.run_id) }, "tasks") },
    ],
    rows,
  });
