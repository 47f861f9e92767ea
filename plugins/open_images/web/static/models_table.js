// The table of the page 'Models': sort, filter, the parameters that differ, and two models to compare.

import {
  COMPARISON,
  Inside,
  Measured,
  Notice,
  Outside,
  PROMOTION,
  RunName,
  Section,
  Table,
  UNDER_WAY,
  day,
  fileUrl,
  h,
  minute,
  number,
  reportPath,
  runPath,
  trigger,
  urlOf,
  useData,
} from "./parts.js";
import { Comparison, RunState } from "./run.js";

const { Fragment, useState } = globalThis.React;
const nameOf = ({ version, known }) => {
  if (version) return `version ${version.number}`;
  return known ? "not registered" : "version unknown";
};

export function ModelsTable({ rows }) {
  const [text, setText] = useState("");
  const [sort, setSort] = useState({ name: "data as of", down: true });
  const [selected, setSelected] = useState([]); // the names of at most two models, the first one chosen first
  const shown = rows.filter((row) => textOf(row).includes(text.trim().toLowerCase()));
  const differing = namesThatDiffer(shown);
  const columns = [selection(selected, setSelected), ...columnsOf(differing)];
  const by = columns.find(({ name }) => name === sort.name) ?? columns.find(({ name }) => name === "data as of");
  const sorted = [...shown].sort((one, other) => compare(by.sort(one), by.sort(other)) * (sort.down ? -1 : 1));
  const pair = selected.map((model) => rows.find((row) => row.model === model)).filter(Boolean);
  return h(
    Section,
    { title: "All models" },
    h(
      "form",
      { className: "filter", role: "search", onSubmit: (event) => event.preventDefault() },
      h(
        "label",
        null,
        "Filter",
        h("input", {
          type: "search",
          value: text,
          placeholder: "version, run, network, decision …",
          onChange: (event) => setText(event.target.value),
        }),
      ),
      h("span", { className: "soft" }, "Select two models to compare them on the same test faces."),
    ),
    h(Table, {
      caption: `${number(shown.length)} of ${number(rows.length)} models, with the parameters that differ between them`,
      columns,
      rows: sorted,
      mark: (row) => (row.role === "champion" ? "kept" : null),
      sort,
      setSort: (name) => setSort({ name, down: name === sort.name ? !sort.down : true }),
    }),
    pair.length === 2 && h(Pair, { key: selected.join(" "), pair }),
  );
}

/** What the filter searches. */
const textOf = (row) =>
  [
    nameOf(row),
    row.role,
    row.network,
    row.version?.decision,
    ...row.runs.map((run) => run.run_id),
    ...Object.entries(row.parameters ?? {}).map(([name, value]) => `${name}=${value}`),
  ]
    .join(" ")
    .toLowerCase();

/** Return the names of the parameters whose values differ between the rows; the network has a column of its own. */
function namesThatDiffer(rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.parameters ?? {})))];
  const values = (name) => new Set(rows.map((row) => row.parameters?.[name] ?? ""));
  return names.filter((name) => name !== "network" && values(name).size > 1);
}

function compare(one, other) {
  if (one == null || other == null) return (one != null) - (other != null);
  if (typeof one === "number" && typeof other === "number") return one - other;
  const [first, second] = [Number(one), Number(other)];
  if (one !== "" && other !== "" && !Number.isNaN(first) && !Number.isNaN(second)) return first - second;
  return String(one).localeCompare(String(other));
}

const selection = (selected, setSelected) => ({
  name: "model",
  sort: (row) => row.version?.number,
  cell: (row) =>
    h(
      "label",
      { className: "nowrap" },
      h("input", {
        type: "checkbox",
        checked: selected.includes(row.model),
        disabled: !row.accuracy || (selected.length === 2 && !selected.includes(row.model)),
        onChange: ({ target }) =>
          setSelected(target.checked ? [...selected, row.model] : selected.filter((model) => model !== row.model)),
      }),
      ` ${nameOf(row)}`,
      row.role && h("span", { className: "badge" }, row.role),
    ),
});

const columnsOf = (differing) => [
  { name: "data as of", sort: (row) => row.as_of, cell: (row) => h("span", { className: "nowrap" }, day(row.as_of)) },
  {
    name: "accuracy",
    sort: (row) => row.accuracy?.value,
    cell: (row) => h(Measured, { of: row.accuracy }),
  },
  {
    name: "worst slice",
    sort: (row) => row.worst_slice?.accuracy.value,
    cell: (row) =>
      row.worst_slice
        ? [`${row.worst_slice.title}, ${row.worst_slice.name}: `, h(Measured, { key: "value", of: row.worst_slice.accuracy })]
        : "–",
  },
  { name: "majority", number: true, sort: (row) => row.majority?.value, cell: (row) => h(Measured, { of: row.majority && { value: row.majority.value } }) },
  { name: "network", sort: (row) => row.network, cell: (row) => row.network ?? "–" },
  ...differing.map((name) => ({
    name,
    sort: (row) => row.parameters?.[name] ?? "",
    cell: (row) => h("span", { className: "breaks" }, row.parameters?.[name] || "–"),
  })),
  { name: "training faces", number: true, sort: (row) => row.faces?.train, cell: (row) => number(row.faces?.train) },
  { name: "decisions", sort: (row) => row.version?.decision, cell: (row) => h(Decisions, { version: row.version }) },
  { name: "runs", sort: (row) => row.run_id, cell: (row) => h(Runs, { row }) },
  { name: "links", sort: (row) => row.run_id, cell: (row) => h(ModelLinks, { row }) },
];

/** The decisions about a version, newest first, each with a link to its promotion. */
function Decisions({ version }) {
  if (!version) return "–";
  const made = version.decisions;
  if (!made.length) return version.decision ? `${version.decision}, ${version.decided}` : "none yet";
  return h(
    "ul",
    { className: "plain" },
    made.map((each, index) =>
      h(
        "li",
        { key: index, title: each.how },
        each.run_id ? h(Inside, { to: reportPath(each.run_id, PROMOTION) }, each.decision) : each.decision,
        each.at && h("span", { className: "soft nowrap" }, ` ${day(each.at)}`),
      ),
    ),
  );
}

const Runs = ({ row }) =>
  h(
    "ul",
    { className: "plain" },
    [...row.runs].reverse().map((run) =>
      h("li", { key: run.run_id }, h(RunName, { row: run }), !run.state && h("span", { className: "soft" }, " (not in Airflow)")),
    ),
  );

const ModelLinks = ({ row }) =>
  h(
    "span",
    { className: "nowrap" },
    row.state && row.evaluation && [h(Outside, { key: "report", href: fileUrl(row.run_id, "evaluate", "report.html") }, "report"), " "],
    row.state && [h(Inside, { key: "tasks", to: runPath(row.run_id) }, "tasks"), " "],
    row.mlflow && h(Outside, { key: "mlflow", href: row.mlflow }, "MLflow"),
  );

/** Two models: what each is, and their comparison, which a run of its own makes if it does not exist yet. */
function Pair({ pair }) {
  const [model, baseline] = [...pair].sort((one, other) => compare(other.as_of, one.as_of));
  const first = `pair__${model.model}__${baseline.model}`;
  const [runId, setRunId] = useState(null);
  const [error, setError] = useState(null);
  const start = async (id) => {
    try {
      setError(null);
      await trigger(COMPARISON, id, { model: model.train, baseline: baseline.train });
      setRunId(id);
    } catch (failure) {
      setError(String(failure.message ?? failure));
    }
  };
  return h(
    Section,
    { title: `${nameOf(model)} and ${nameOf(baseline)}` },
    h(Differences, { model, baseline }),
    runId
      ? h(Compared, { key: runId, runId, again: () => start(`${first}__${Date.now()}`) })
      : h(
          "p",
          { className: "pager" },
          h("button", { type: "button", onClick: () => start(first) }, "Compare on the same test faces"),
          h("span", { className: "soft" }, "Both models predict the test faces of the newer one's run."),
        ),
    error && h(Notice, { kind: "error", title: "The comparison was not started." }, h("p", null, error)),
  );
}

function Differences({ model, baseline }) {
  const rows = [
    ["run", (row) => h(RunName, { row })],
    ["data as of", (row) => minute(row.as_of)],
    ["accuracy on its own test faces", (row) => h(Measured, { of: row.accuracy })],
    ["network", (row) => row.network],
    ...namesThatDiffer([model, baseline]).map((name) => [name, (row) => row.parameters?.[name] || "–"]),
    ["training faces", (row) => number(row.faces?.train)],
  ];
  return h(Table, {
    caption: "What differs between the two",
    columns: [
      { name: "", cell: ([name]) => name },
      { name: nameOf(model), cell: ([, cell]) => cell(model) },
      { name: nameOf(baseline), key: "baseline", cell: ([, cell]) => cell(baseline) },
    ],
    rows,
  });
}

function Compared({ runId, again }) {
  const { data, error } = useData(urlOf("runs", COMPARISON, runId), (found) => UNDER_WAY.includes(found.run.state));
  if (error) return h(Notice, { kind: "error", title: "The comparison cannot be loaded." }, h("p", null, error));
  if (!data) return h("p", { className: "soft", role: "status" }, "Starting …");
  const ended = !UNDER_WAY.includes(data.run.state);
  const [stage, file, title] = data.pages?.comparison ?? [];
  return h(
    Fragment,
    null,
    h(RunState, { data, dagId: COMPARISON, nothing: "It has just been started.", done: data.comparison, missing: "It ended without a result." }),
    data.comparison && h(Comparison, { comparison: data.comparison, names: ["the newer model", "the other"] }),
    h(
      "p",
      { className: "pager" },
      stage && h(Outside, { href: fileUrl(runId, stage, file, COMPARISON) }, title),
      ended && !data.comparison && h("button", { type: "button", onClick: again }, "Try again"),
    ),
  );
}
