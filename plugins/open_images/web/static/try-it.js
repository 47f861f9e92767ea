// The page 'Try it': what the champion says about one photograph, and where it looked. The photograph is not stored.

import { Limits, Loaded, Notice, Section, contentOf, h, number, percent, urlOf, useData } from "./parts.js";

const { Fragment, useEffect, useState } = globalThis.React;
const KINDS = ["image/jpeg", "image/png"];

globalThis["Try it"] = function TryIt() {
  const answer = useData(urlOf("try"));
  return h(Loaded, { answer, show: (data) => h(Trial, { data }) });
};

function Trial({ data }) {
  const [photograph, setPhotograph] = useState(null); // {file, url}
  const [state, setState] = useState({}); // {waiting, reply, error}
  useEffect(() => () => photograph && URL.revokeObjectURL(photograph.url), [photograph]);

  const ask = async (file) => {
    const refusal = refuse(file, data.largest);
    setPhotograph(refusal ? null : { file, url: URL.createObjectURL(file) });
    setState(refusal ? { error: refusal } : { waiting: true });
    if (refusal) return;
    try {
      const response = await fetch(urlOf("try"), { method: "POST", headers: { "Content-Type": file.type }, body: file });
      setState({ reply: await contentOf(response) });
    } catch (error) {
      setState({ error: String(error.message ?? error) });
    }
  };

  if (!data.model) {
    return h(Notice, { title: "No model has been trained yet." }, h("p", null, "Train one first: then this page asks it."));
  }
  return h(
    Fragment,
    null,
    h("h1", null, "Try it"),
    h(
      "p",
      null,
      data.model.number == null
        ? "No model was promoted yet, so the most recently trained one answers. "
        : `The champion, version ${data.model.number}, answers. `,
      "The photograph is sent to Airflow's web server, held in memory while it is answered, and stored nowhere.",
    ),
    h(Limits, data),
    h(Drop, { ask, waiting: state.waiting, largest: data.largest }),
    state.error && h(Notice, { kind: "error", title: "There is no answer." }, h("p", null, state.error)),
    state.waiting &&
      h("p", { role: "status", className: "soft" }, "Working … The first photograph takes up to half a minute: the model is loaded."),
    photograph && h(Photograph, { url: photograph.url, reply: state.reply }),
    state.reply?.detector && h("p", { className: "soft" }, `Faces were found by ${state.reply.detector.name}.`),
    state.reply && h(Faces, { reply: state.reply, risk: data.max_risk }),
  );
}

/** Return why a file cannot be asked about, or null. */
function refuse(file, largest) {
  if (!KINDS.includes(file.type)) return "Choose a JPEG or PNG file.";
  if (file.size > largest) return `The file has ${number(Math.ceil(file.size / 2 ** 20))} MB; at most ${largest >> 20} MB are accepted.`;
  return null;
}

function Drop({ ask, waiting, largest }) {
  const [over, setOver] = useState(false);
  const take = (files) => files.length && !waiting && ask(files[0]);
  return h(
    "label",
    {
      className: `drop ${over ? "over" : ""}`,
      onDragOver: (event) => {
        event.preventDefault();
        setOver(true);
      },
      onDragLeave: () => setOver(false),
      onDrop: (event) => {
        event.preventDefault();
        setOver(false);
        take(event.dataTransfer.files);
      },
    },
    h("strong", null, "Drop a photograph here, or choose one"),
    h("span", { className: "soft" }, `JPEG or PNG, up to ${largest >> 20} MB`),
    h("input", { type: "file", accept: KINDS.join(","), disabled: waiting, onChange: (event) => take(event.target.files) }),
  );
}

/** The photograph, with boxes once they are known. Browsers show it upright, as the answer's pixels count it. */
function Photograph({ url, reply }) {
  return h(
    "figure",
    { className: "trial" },
    h("img", { src: url, alt: "Your photograph" }),
    reply &&
      h(
        "svg",
        { viewBox: `0 0 ${reply.width} ${reply.height}`, role: "img", "aria-label": `${reply.faces.length} faces` },
        reply.faces.map((face, index) => {
          const [left, top, right, bottom] = face.box;
          const size = Math.max(14, Math.max(reply.width, reply.height) / 32);
          const y = top > size * 1.4 ? top - size * 0.3 : Math.min(bottom + size, reply.height - 4);
          return h(
            "g",
            { key: index, className: face.label === "unknown" ? "unsure" : "sure" },
            h("rect", { x: left, y: top, width: right - left, height: bottom - top, strokeWidth: size / 7 }),
            h("text", { x: left, y, fontSize: size, strokeWidth: size / 4 }, `${index + 1}: ${said(face)}`),
          );
        }),
      ),
  );
}

const said = ({ label, confidence }) => (label === "unknown" ? "unknown" : `${label} ${confidence > 0.99 ? ">99%" : `${Math.round(100 * confidence)}%`}`);

const smallestFace = ({ min_face }) => (min_face ? `${min_face} pixels` : "a sixteenth of the photograph's longer side");

function Faces({ reply, risk }) {
  if (!reply.faces.length) {
    return h(
      Notice,
      { title: "The detector found no face." },
      h("p", null, `It looks for faces of at least ${smallestFace(reply.detector)}, and often misses drawn ones.`),
    );
  }
  return h(
    Section,
    { title: reply.faces.length === 1 ? "One face" : `${reply.faces.length} faces` },
    h(
      "p",
      { className: "soft" },
      `The labels are ${reply.meaning}. Below a confidence of ${percent(reply.min_confidence)} the answer is 'unknown'${risk ? `, so that at most ${percent(risk)} of the other answers are wrong on photographs like those of training` : ""}. `,
      "Yellow in the second picture marks what spoke for the more likely label (Grad-CAM). It shows where the network looked, not that it looked at the right thing.",
    ),
    h(
      "div",
      { className: "faces" },
      reply.faces.map((face, index) =>
        h(
          "article",
          { key: index, "aria-label": `Face ${index + 1}` },
          h("h3", null, `${index + 1}: ${said(face)}`),
          face.unusual?.length > 0 &&
            h("p", { className: "soft" }, `Unlike the training faces by ${face.unusual.join(", ")}: trust the answer less.`),
          h(
            "div",
            { className: "pair" },
            h("img", { src: `data:image/jpeg;base64,${face.chip}`, alt: "What the network saw" }),
            face.heat && h("img", { src: `data:image/jpeg;base64,${face.heat}`, alt: "Where the network looked" }),
          ),
          h(
            "dl",
            null,
            Object.entries(face.probabilities).map(([label, share]) =>
              h(
                Fragment,
                { key: label },
                h("dt", null, label),
                h("dd", null, percent(share), h("span", { className: "bar", style: { width: `${7 * share}rem` }, "aria-hidden": true })),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
