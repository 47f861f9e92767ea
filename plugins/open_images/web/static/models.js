// The page 'Models': the history of all training runs, the candidates and the champion.

import {
  Inside,
  Limits,
  Loaded,
  Measured,
  Notice,
  Outside,
  PROMOTION,
  RunName,
  Section,
  Table,
  TRAINING,
  UNDER_WAY,
  day,
  fileUrl,
  h,
  minute,
  number,
  newestOf,
  runPath,
  urlOf,
  useData,
} from "./parts.js";
import { FacesChart, ShareChart } from "./charts.js";

const { Fragment } = globalThis.React;
const SPLITS = ["train", "validation", "test"];

globalThis.Models = function Models() {
  const answer = useData(urlOf("history"), ({ runs }) => runs.some(({ state }) => UNDER_WAY.includes(state)));
  const registry = useData(urlOf("models"));
  return h(Loaded, { answer, show: ({ runs }) => h(History, { runs, registry }) });
};

function History({ runs, registry: { data: registry, error } }) {
  const rows = runs.map((row) => ({ ...row, when: day(row.as_of ?? row.run_after ?? row.finished) }));
  const role = (row) => {
    if (row.model && row.model === registry?.champion) return "champion";
    return row.model && row.model === registry?.previous ? "previous" : "";
  };
  if (!rows.length) {
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
    h(Champion, { rows, registry, error, role }),
    h(
      Section,
      { title: "Accuracy" },
      h(
        "p",
        { className: "soft" },
        "On each run's test split, with 95% intervals. The dashed line is the majority baseline. A ring marks the champion.",
      ),
      h(ShareChart, {
        label: "Accuracy of each run, oldest first",
        rows,
        of: (row) => row.accuracy,
        baseline: (row) => row.majority?.value,
        mark: role,
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
          label: "Accuracy on the worst slice of each run, oldest first",
          rows,
          of: (row) => row.worst_slice?.accuracy,
          mark: role,
        }),
      ),
    h(
      Section,
      { title: "Data" },
      h(
        "p",
        { className: "soft legend" },
        "Faces kept by each run: ",
        SPLITS.map((split) => h("span", { key: split }, h("i", { className: `split ${split}` }), split)),
      ),
      h(FacesChart, { label: "Kept faces of each run by split, oldest first", rows, splits: SPLITS }),
    ),
    h(Section, { title: "Runs" }, h(Runs, { rows: [...rows].reverse(), role })),
    registry?.versions.length > 0 && h(Section, { title: "Candidates" }, h(Candidates, { registry, rows })),
  );
}

function Champion({ rows, registry, error, role }) {
  const row = newestOf(rows.filter((each) => role(each) === "champion" && each.accuracy));
  if (error) return h(Notice, { kind: "warning", title: "The registry cannot be read." }, h("p", null, error));
  if (!registry) return null;
  if (!registry.champion) return h("p", null, "No model has been promoted to champion yet.");
  return h(
    "p",
    { className: "headline" },
    "The champion is the model ",
    h("code", null, registry.champion),
    row
      ? [
          " from ",
          h(RunName, { key: "run", row }),
          ": accuracy ",
          h(Measured, { key: "accuracy", of: row.accuracy }),
          ".",
        ]
      : ".",
  );
}

const Runs = ({ rows, role }) =>
  h(Table, {
    caption: `All ${number(rows.length)} runs, newest first`,
    columns: [
      {
        name: "run",
        cell: (row) =>
          h("span", null, h(RunName, { row }), !row.state && h("span", { className: "soft" }, " (not in Airflow)")),
      },
      { name: "data as of", cell: (row) => h("span", { className: "nowrap" }, row.when) },
      {
        name: "state",
        cell: (row) => [
          h("span", { key: "state" }, row.state ?? "–"),
          role(row) && h("span", { key: "role", className: "badge" }, role(row)),
        ],
      },
      { name: "network", cell: (row) => row.network ?? "–" },
      { name: "training faces", number: true, cell: (row) => number(row.faces?.train) },
      { name: "accuracy", cell: (row) => h(Measured, { of: row.accuracy }) },
      {
        name: "majority",
        number: true,
        cell: (row) => h(Measured, { of: row.majority && { value: row.majority.value } }),
      },
      {
        name: "worst slice",
        cell: (row) =>
          row.worst_slice
            ? [
                `${row.worst_slice.title}, ${row.worst_slice.name}: `,
                h(Measured, { key: "value", of: row.worst_slice.accuracy }),
              ]
            : "–",
      },
      {
        name: "links",
        cell: (row) =>
          h(
            "span",
            { className: "nowrap" },
            row.state &&
              row.evaluation && [
                h(Outside, { key: "report", href: fileUrl(row.run_id, "evaluate", "report.html") }, "report"),
                " ",
              ],
            row.state && [h(Inside, { key: "tasks", to: runPath(row.run_id) }, "tasks"), " "],
            row.mlflow && h(Outside, { key: "mlflow", href: row.mlflow }, "MLflow"),
          ),
      },
    ],
    rows,
    mark: (row) => (role(row) === "champion" ? "kept" : null),
  });

const Candidates = ({ registry, rows }) =>
  h(Table, {
    caption: "Registered versions, newest first",
    columns: [
      { name: "version", cell: (row) => row.number },
      {
        name: "run",
        cell: (row) => {
          const run = newestOf(rows.filter((each) => each.model === row.model));
          return run ? h(RunName, { row: run }) : h("code", null, row.model);
        },
      },
      { name: "data as of", cell: (row) => h("span", { className: "nowrap" }, minute(row.as_of)) },
      { name: "accuracy", number: true, cell: (row) => h(Measured, { of: { value: row.accuracy } }) },
      {
        name: "role",
        cell: (row) =>
          row.model === registry.champion ? "champion" : row.model === registry.previous ? "previous" : "candidate",
      },
      { name: "last decision", cell: (row) => (row.decision ? `${row.decision}, ${row.decided}` : "–") },
      {
        name: "links",
        cell: (row) =>
          row.compared &&
          h(
            "span",
            { className: "nowrap" },
            h(Outside, { href: fileUrl(row.compared, "compare", "compare.html", PROMOTION) }, "comparison"),
          ),
      },
    ],
    rows: registry.versions,
    mark: (row) => (row.model === registry.champion ? "kept" : null),
  });
