// Charts as inline SVG, as wide as their container, in the colors of the page's theme.

import { h, percent, reportPath, useWidth } from "./parts.js";

const { Link } = globalThis.ReactRouterDOM;
const LEFT = 46;
const RIGHT = 12;
const TOP = 12;
const BOTTOM = 26;
const LETTER = 6.6; // width in pixels of a letter of a label

/** Return a linear map from [low, high] to [start, end]. */
const scale = (low, high, start, end) => (value) => start + ((value - low) / (high - low || 1)) * (end - start);

/** Return about five round tick values from 0 to at least `most`. */
function ticksTo(most) {
  const rough = Math.max(most, 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, power * [1, 2, 5, 10].find((factor) => factor * power >= rough));
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
}

/**
 * A chart over models, oldest on the left. It draws the axes; `draw(row, x, y, step)` draws the marks.
 *
 * rows: each with `run_id` and `label`, its text below the axis, which is unique; title(row): the tooltip of a mark;
 * ticks: values on the vertical axis; say: formats them.
 */
function ModelsChart({ label, rows, height = 220, ticks, say, title, draw, lines }) {
  const [ref, width] = useWidth();
  const right = Math.max(width, 240) - RIGHT;
  const bottom = height - BOTTOM;
  const y = scale(ticks[0], ticks[ticks.length - 1], bottom, TOP);
  const step = (right - LEFT) / Math.max(rows.length, 1);
  const x = (index) => LEFT + (index + 0.5) * step;
  const widest = Math.max(...rows.map((row) => row.label.length));
  const every = Math.ceil((widest * LETTER + 10) / step);
  return h(
    "div",
    { ref, className: "chart" },
    width > 0 &&
      h(
        "svg",
        { width: right + RIGHT, height, role: "group", "aria-label": label },
        ticks.map((tick) =>
          h(
            "g",
            { key: tick },
            h("line", { x1: LEFT, x2: right, y1: y(tick), y2: y(tick), className: "grid" }),
            h("text", { x: LEFT - 8, y: y(tick) + 4, textAnchor: "end" }, say(tick)),
          ),
        ),
        lines?.(x, y),
        rows.map((row, index) =>
          h(
            "g",
            { key: row.label },
            h(
              row.state ? Link : "g", // runs that Airflow does not know have no page
              { "aria-label": title(row), className: "mark", ...(row.state ? { to: reportPath(row.run_id) } : { role: "img" }) },
              h("title", null, title(row)),
              h("rect", { x: x(index) - step / 2, width: step, y: TOP, height: bottom - TOP, className: "hit" }),
              draw(row, x(index), y, step),
            ),
            index % every === 0 && h("text", { x: x(index), y: height - 8, textAnchor: "middle" }, row.label),
          ),
        ),
      ),
  );
}

/** A share with its interval for each model, and a dashed baseline where `baseline(row)` has one. */
export function ShareChart({ label, rows, of, baseline = () => null, mark = () => "" }) {
  const shown = rows.filter((row) => of(row)?.value != null);
  if (!shown.length) return h("p", { className: "soft" }, "No model has been evaluated yet.");
  const lowest = Math.min(...shown.flatMap((row) => [of(row).low ?? of(row).value, baseline(row) ?? 1]));
  const first = Math.max(0, Math.floor(lowest * 10) / 10);
  const wide = first < 0.5 ? 0.2 : 0.1;
  const count = Math.ceil((1 - first) / wide - 1e-9);
  const ticks = Array.from({ length: count + 1 }, (_, index) => 1 - (count - index) * wide);
  return h(ModelsChart, {
    label,
    rows: shown,
    ticks,
    say: (tick) => `${Math.round(100 * tick)}%`,
    title: (row) =>
      `${row.label}, ${row.run_id}: ${percent(of(row).value)}, 95% interval ${percent(of(row).low)} to ${percent(of(row).high)}`,
    draw: (row, x, y, step) => [
      baseline(row) != null &&
        h("line", {
          key: "baseline",
          x1: x - Math.min(step / 2, 24),
          x2: x + Math.min(step / 2, 24),
          y1: y(baseline(row)),
          y2: y(baseline(row)),
          className: "baseline",
        }),
      of(row).low != null &&
        h("line", { key: "interval", x1: x, x2: x, y1: y(of(row).low), y2: y(of(row).high), className: "interval" }),
      h("circle", { key: "value", cx: x, cy: y(of(row).value), r: 5, className: `value ${mark(row)}` }),
    ],
  });
}

/** Stacked bars of the faces of each split for each model. */
export function FacesChart({ label, rows, splits }) {
  const shown = rows.filter((row) => row.faces);
  if (!shown.length) return h("p", { className: "soft" }, "No model has been trained yet.");
  const total = (row) => splits.reduce((sum, split) => sum + (row.faces[split] ?? 0), 0);
  return h(ModelsChart, {
    label,
    rows: shown,
    ticks: ticksTo(Math.max(...shown.map(total))),
    say: (tick) => (tick >= 10_000 ? `${tick / 1000}k` : tick.toLocaleString("en")),
    title: (row) => `${row.label}, ${row.run_id}: ${splits.map((split) => `${row.faces[split] ?? 0} ${split}`).join(", ")}`,
    draw: (row, x, y, step) => {
      let below = 0;
      return splits.map((split) => {
        const from = below;
        below += row.faces[split] ?? 0;
        const width = Math.min(step * 0.6, 36);
        return h("rect", {
          key: split,
          x: x - width / 2,
          width,
          y: y(below),
          height: Math.max(0, y(from) - y(below)),
          className: `split ${split}`,
        });
      });
    },
  });
}

/** An accuracy with its interval and the majority baseline on one line. */
export function Gauge({ accuracy, majority }) {
  const [ref, width] = useWidth();
  const ends = [accuracy.low, accuracy.high, majority.value].filter((value) => value != null);
  const low = Math.max(0, Math.min(0.5, ...ends) - 0.05);
  const x = scale(low, 1, 10, Math.max(width, 160) - 10);
  const left = majority.value < low + (1 - low) / 4;
  return h(
    "div",
    { ref, className: "chart gauge" },
    width > 0 &&
      h(
        "svg",
        {
          width: Math.max(width, 160),
          height: 66,
          role: "img",
          "aria-label": `Accuracy ${percent(accuracy.value)}, majority baseline ${percent(majority.value)}`,
        },
        h("line", { x1: x(low), x2: x(1), y1: 34, y2: 34, className: "grid" }),
        h("line", { x1: x(majority.value), x2: x(majority.value), y1: 20, y2: 48, className: "baseline" }),
        accuracy.low != null &&
          h("line", { x1: x(accuracy.low), x2: x(accuracy.high), y1: 34, y2: 34, className: "interval broad" }),
        h("circle", { cx: x(accuracy.value), cy: 34, r: 7, className: "value" }),
        h("text", { x: x(majority.value), y: 14, textAnchor: left ? "start" : "middle" }, `always “${majority.label}”`),
        h("text", { x: x(low), y: 62 }, percent(low)),
        h("text", { x: x(1), y: 62, textAnchor: "end" }, "100%"),
      ),
  );
}

/** Return about `count` round tick values that span [low, high]. */
function ticksOver(low, high, count = 4) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: Math.max(1, last - first) + 1 }, (_, index) => (first + index) * step);
}

/**
 * Curves over epochs. lines: each with `name`, `className`, and `values`, one for each epoch, where null leaves a gap;
 * say: formats a value; marked: {epoch, name, className} of vertical lines.
 */
export function EpochsChart({ label, lines, say, marked = [], height = 220 }) {
  const [ref, width] = useWidth();
  const values = lines.flatMap((line) => line.values).filter((value) => value != null);
  const epochs = Math.max(...lines.map((line) => line.values.length));
  if (!values.length) return null;
  const ticks = ticksOver(Math.min(...values), Math.max(...values));
  const right = Math.max(width, 240) - RIGHT;
  const bottom = height - BOTTOM;
  const y = scale(ticks[0], ticks[ticks.length - 1], bottom, TOP);
  const x = scale(1, Math.max(epochs, 2), LEFT + 6, right - 6);
  const whole = ticksOver(1, Math.max(epochs, 2), 6).filter((tick) => Number.isInteger(tick) && tick >= 1 && tick <= epochs);
  const path = (line) =>
    line.values
      .map((value, index) => (value == null ? "" : `${line.values[index - 1] == null ? "M" : "L"}${x(index + 1)},${y(value)}`))
      .join("");
  return h(
    "div",
    { ref, className: "chart" },
    h(
      "p",
      { className: "soft legend" },
      `${label}: `,
      lines.map((line) => h("span", { key: line.name }, h("i", { className: `line ${line.className}` }), line.name)),
    ),
    width > 0 &&
      h(
        "svg",
        { width: right + RIGHT, height, role: "img", "aria-label": `${label} by epoch: ${lines.map(({ name }) => name).join(", ")}` },
        ticks.map((tick) =>
          h(
            "g",
            { key: tick },
            h("line", { x1: LEFT, x2: right, y1: y(tick), y2: y(tick), className: "grid" }),
            h("text", { x: LEFT - 8, y: y(tick) + 4, textAnchor: "end" }, say(tick)),
          ),
        ),
        whole.map((tick) => h("text", { key: tick, x: x(tick), y: height - 8, textAnchor: "middle" }, tick)),
        marked.map((mark) =>
          h(
            "line",
            { key: mark.name, x1: x(mark.epoch), x2: x(mark.epoch), y1: TOP, y2: bottom, className: `kept ${mark.className}` },
            h("title", null, mark.name),
          ),
        ),
        lines.map((line) => h("path", { key: line.name, d: path(line), className: `line ${line.className}` })),
        lines.map((line) => {
          const last = line.values.findLastIndex((value) => value != null);
          return h("circle", { key: `${line.name} last`, cx: x(last + 1), cy: y(line.values[last]), r: 3, className: `line ${line.className}` });
        }),
      ),
  );
}
