// The tab 'Report' of a prediction run: what was found, all answers with a filter, downloads, and annotated photographs.

import {
  Inside,
  Limits,
  Notice,
  PREDICTION,
  Section,
  Table,
  fileUrl,
  h,
  number,
  percent,
  runPath,
  urlOf,
  useData,
} from "./parts.js";
import { RunState } from "./run.js";

const { Fragment, useEffect, useState } = globalThis.React;
const PAGE = 50; // rows that the route returns at most
const SHOWN = 24; // annotated photographs until the reader asks for all
const PAUSE = 300; // milliseconds without a key until a text is searched for

export function PredictionReport({ data, runId }) {
  const found = data.predictions;
  const nothing = "Nothing to show yet: the run has not listed the photographs.";
  return h(
    Fragment,
    null,
    h(RunState, { data, dagId: PREDICTION, nothing, done: found, missing: "This run has no predictions." }),
    found && h(Headline, { data }),
    h(
      "ul",
      { className: "links", "aria-label": "Links" },
      found &&
        Object.keys(data.tables).flatMap((table) =>
          ["csv", "parquet"].map((kind) =>
            h(
              "li",
              { key: `${table} ${kind}` },
              h("a", { href: urlOf("runs", PREDICTION, runId, "tables", table, kind), download: "" }, `${table} as ${NAMES[kind]}`),
            ),
          ),
        ),
      Object.entries(data.pages ?? {}).map(([page, [stage, file, title]]) =>
        h(
          "li",
          { key: page },
          h("a", { href: fileUrl(runId, stage, file, PREDICTION), target: "_blank", rel: "noopener noreferrer" }, title),
        ),
      ),
      h("li", null, h(Inside, { to: runPath(runId, PREDICTION) }, "Tasks")),
      h("li", null, h(Inside, { to: "/plugin/models" }, "All models")),
    ),
    found && h(Limits, data),
    found && h(Answers, { data, runId }),
    found && h(Photographs, { ledger: data.ledger }),
    found && h(Unusual, { unusual: data.unusual, predictions: found }),
    data.sample?.length > 0 && h(Sample, { sample: data.sample, runId }),
  );
}

const NAMES = { csv: "CSV", parquet: "Parquet" };

function Headline({ data: { predictions, photographs, model, min_confidence: least, promise } }) {
  const { data: registry } = useData(urlOf("models"));
  const version = registry?.versions.find((row) => row.model === model);
  const faces = Object.values(predictions.faces).reduce((total, count) => total + count, 0);
  return h(
    "div",
    { className: "headline" },
    h("div", { className: "figure" }, number(faces)),
    h(
      "p",
      null,
      `${faces === 1 ? "face" : "faces"} on ${number(predictions.photographs)} photographs: `,
      Object.entries(predictions.faces)
        .map(([label, count]) => `${number(count)} ${label}`)
        .join(", "),
      ".",
    ),
    h(
      "p",
      { className: "soft" },
      `The labels are ${predictions.meaning}. `,
      `'unknown' means that the model's confidence is below ${percent(least)}. `,
      promise ? `${promise} ` : "",
      version ? `Model: version ${version.number}` : "Model: one that is not registered",
      version && registry.champion === model ? ", the champion. " : ". ",
      "Photographs: ",
      h("code", null, photographs),
    ),
    predictions.detector &&
      h(
        "p",
        { className: "soft" },
        `Faces were found by ${predictions.detector.name}, `,
        predictions.detector.min_face
          ? `from ${predictions.detector.min_face} pixels on. `
          : "from a sixteenth of a photograph's longer side on. ",
        `Its boxes as in training: ${predictions.detector.box_map}.`,
      ),
  );
}

/** The table of faces or of photographs, a page at a time. */
function Answers({ data, runId }) {
  const [table, setTable] = useState("faces");
  const [value, setValue] = useState("");
  const [text, setText] = useState("");
  const [order, setOrder] = useState("");
  const [offset, setOffset] = useState(0);
  const sought = usePause(text);
  useEffect(() => setOffset(0), [table, value, sought, order]);
  const url = new URL(urlOf("runs", PREDICTION, runId, "tables", table));
  const asked = { value, text: sought, order: table === "faces" ? order : "", offset: offset || "" };
  Object.entries(asked).forEach(([name, wanted]) => wanted && url.searchParams.set(name, wanted));
  const { data: found, error } = useData(url.href);
  const values = table === "faces" ? [...data.predictions.labels, "unknown"] : Object.keys(data.ledger);
  const choose = (next) => {
    setTable(next);
    setValue("");
  };
  return h(
    Section,
    { title: "Answers" },
    h(
      "form",
      { className: "filter", role: "search", onSubmit: (event) => event.preventDefault() },
      h(Choice, { title: "Table", value: table, onChange: choose, options: Object.keys(data.tables).map((name) => [name, name]) }),
      h(Choice, {
        title: table === "faces" ? "Label" : "Status",
        value,
        onChange: setValue,
        options: [["", "all"], ...values.map((name) => [name, name])],
      }),
      table === "faces" &&
        h(Choice, {
          title: "Order",
          value: order,
          onChange: setOrder,
          options: [
            ["", "as stored"],
            ["unsure", "least sure first"],
            ["sure", "surest first"],
          ],
        }),
      h(
        "label",
        null,
        "Path contains",
        h("input", { type: "search", value: text, maxLength: 200, onChange: (event) => setText(event.target.value) }),
      ),
    ),
    error && h(Notice, { kind: "error", title: "The answers cannot be loaded." }, h("p", null, error)),
    found && found.rows.length === 0 && h("p", { className: "soft", role: "status" }, "No row matches."),
    found && found.rows.length > 0 && h(Rows, { table, found, offset, setOffset, runId, labels: data.predictions.labels }),
  );
}

function Rows({ table, found, offset, setOffset, runId, labels }) {
  const last = offset + found.rows.length;
  const photograph = {
    name: "photograph",
    cell: (row) =>
      row.sample
        ? h("a", { href: fileUrl(runId, "predict", row.sample, PREDICTION), target: "_blank", rel: "noopener noreferrer" }, row.photo)
        : h("span", { className: "breaks" }, row.photo),
  };
  const columns = {
    faces: [
      photograph,
      { name: "face", number: true, cell: (row) => row.face },
      { name: "label", cell: (row) => h("strong", null, row.label) },
      { name: "confidence", number: true, cell: (row) => percent(row.confidence) },
      ...labels.map((label) => ({
        name: `P(${label})`,
        number: true,
        cell: (row) => percent(row[`probability_${label}`]),
      })),
      { name: "unusual", cell: (row) => unusualText(row.unusual) },
      { name: "box in pixels", cell: (row) => `${row.left},${row.top} – ${row.right},${row.bottom}` },
    ],
    photographs: [
      photograph,
      { name: "status", cell: (row) => row.status },
      { name: "faces", number: true, cell: (row) => number(row.faces) },
      { name: "pixels", number: true, cell: (row) => (row.width ? `${row.width} × ${row.height}` : "–") },
      { name: "bytes", number: true, cell: (row) => number(row.bytes) },
    ],
  };
  return h(
    Fragment,
    null,
    h(Table, {
      caption: `Rows ${number(offset + 1)} to ${number(last)} of ${number(found.total)}. A link opens the annotated photograph.`,
      columns: columns[table],
      rows: found.rows,
    }),
    h(
      "p",
      { className: "pager" },
      h("button", { type: "button", disabled: offset === 0, onClick: () => setOffset(Math.max(0, offset - PAGE)) }, "Previous"),
      h("button", { type: "button", disabled: last >= found.total, onClick: () => setOffset(offset + PAGE) }, "Next"),
    ),
  );
}

const Choice = ({ title, value, onChange, options }) =>
  h(
    "label",
    null,
    title,
    h(
      "select",
      { value, onChange: (event) => onChange(event.target.value) },
      options.map(([name, shown]) => h("option", { key: name, value: name }, shown)),
    ),
  );

/** Return a text once it has not changed for a moment. */
function usePause(text) {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), PAUSE);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

const Photographs = ({ ledger }) =>
  h(
    Section,
    { title: "What became of the photographs" },
    h(Table, {
      caption: "Photographs by status",
      columns: [
        { name: "status", cell: ([status]) => status },
        { name: "photographs", number: true, cell: ([, count]) => number(count) },
      ],
      rows: Object.entries(ledger).filter(([status, count]) => count > 0 || status === "classified"),
      mark: ([status]) => (status === "classified" ? "kept" : null),
    }),
  );

const REASONS = {
  brightness: "darker or brighter than the training faces",
  size: "smaller in pixels",
  sharpness: "more blurred, or noisier",
  features: "far from them in the network's features",
};

const unusualText = (reasons) => (reasons ? reasons.split(",").join(", ") : reasons === "" ? "" : "–");

/** The faces outside the range of the training faces, for which the model's measured accuracy says little. */
function Unusual({ unusual, predictions }) {
  const faces = Object.values(predictions.faces).reduce((total, count) => total + count, 0);
  const shareOf = (count) => (faces ? percent(count / faces) : "–");
  return h(
    Section,
    { title: "Faces unlike those of the training" },
    unusual
      ? h(
          Fragment,
          null,
          h(
            "p",
            null,
            `${number(unusual.faces)} of ${number(faces)} faces (${shareOf(unusual.faces)}) lie outside the range of the `,
            "model's training faces, where about 3% would by chance. The measured accuracy says little about them.",
          ),
          h(Table, {
            caption: "Faces by reason; a face may have several",
            columns: [
              { name: "reason", cell: ([reason]) => reason },
              { name: "the face is", cell: ([reason]) => REASONS[reason] },
              { name: "faces", number: true, cell: ([, count]) => number(count) },
              { name: "share", number: true, cell: ([, count]) => shareOf(count) },
            ],
            rows: Object.entries(unusual.by_reason),
          }),
        )
      : h("p", { className: "soft" }, "Not measured: an older version of the program trained the model or made this prediction."),
  );
}

function Sample({ sample, runId }) {
  const [all, setAll] = useState(false);
  const shown = all ? sample : sample.slice(0, SHOWN);
  return h(
    Section,
    { title: "Annotated sample" },
    h(
      "div",
      { className: "figures small" },
      shown.map((path) => {
        const href = fileUrl(runId, "predict", path, PREDICTION);
        const name = path.slice(path.indexOf("-") + 1);
        return h(
          "figure",
          { key: path },
          h("a", { href, target: "_blank", rel: "noopener noreferrer" }, h("img", { src: href, alt: `${name} with its faces`, loading: "lazy" })),
          h("figcaption", { className: "breaks" }, name),
        );
      }),
    ),
    sample.length > shown.length &&
      h("p", { className: "pager" }, h("button", { type: "button", onClick: () => setAll(true) }, `Show all ${number(sample.length)}`)),
  );
}
