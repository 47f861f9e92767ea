// Shared parts of all pages: data fetching, number formats, links and tables. Airflow offers its own React and router
// to plugins as globals, so there is nothing to build or ship.

const { createElement, useEffect, useRef, useState } = globalThis.React;
const { Link } = globalThis.ReactRouterDOM;

export const TRAINING = "open_images_training";
export const PROMOTION = "open_images_promotion";
export const PREDICTION = "open_images_prediction";
export const COMPARISON = "open_images_comparison";
export const SWEEP = "open_images_sweep";
const ROOT = new URL("../", import.meta.url);
const AIRFLOW = new URL("../api/v2/", ROOT); // Airflow's own REST API
const STYLE = new URL("style.css", import.meta.url).href;
const POLL = 10_000; // milliseconds
export const UNDER_WAY = ["queued", "running"];

export const h = createElement;
export const urlOf = (...parts) => new URL(parts.map(encodeURIComponent).join("/"), ROOT).href;
export const fileUrl = (runId, stage, path, dagId = TRAINING) =>
  `${urlOf("runs", dagId, runId, "files", stage)}/${path.split("/").map(encodeURIComponent).join("/")}`;

/** Return the JSON of a response, or throw an error with its detail and status. */
export async function contentOf(response) {
  const content = await response.json().catch(() => ({})); // a proxy may respond in HTML
  if (response.ok) return content;
  const detail = typeof content.detail === "string" ? content.detail : response.statusText;
  throw Object.assign(new Error(`${detail} (${response.status})`), { status: response.status });
}

/** Trigger a run of a DAG by Airflow's REST API, with the rights of who is logged in; one that exists is left alone. */
export async function trigger(dagId, runId, conf) {
  const response = await fetch(new URL(`dags/${dagId}/dagRuns`, AIRFLOW), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ dag_run_id: runId, logical_date: null, conf }),
  });
  if (response.status !== 409) await contentOf(response);
}

/**
 * Return {data, error} of a route, and fetch it again every ten seconds while `again(data)` holds. After an error, keep
 * the data so far and try again; without data, give up if the status is 4xx.
 */
export function useData(url, again = () => false) {
  const [answer, setAnswer] = useState({});
  useEffect(() => {
    const stop = new AbortController();
    let timer;
    let data;
    const load = async () => {
      let refused = false;
      try {
        const response = await fetch(url, { signal: stop.signal });
        refused = response.status >= 400 && response.status < 500;
        data = await contentOf(response);
        setAnswer({ data });
      } catch (error) {
        if (!stop.signal.aborted) setAnswer({ data, error: String(error.message ?? error) });
      }
      if (!stop.signal.aborted && (data ? again(data) : !refused)) timer = setTimeout(load, POLL);
    };
    load();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [url]);
  return answer;
}

/** Return a ref, and the current width in pixels of the element that has it. */
export function useWidth() {
  const ref = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

export const percent = (value) => (value == null ? "–" : `${(100 * value).toFixed(1)}%`);
export const points = (value) => (value == null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)}`);
export const fixed = (value) => (value == null ? "–" : value.toFixed(3).replace("-", "−"));
export const number = (value) => (value == null ? "–" : value.toLocaleString("en"));
export const day = (time) => (time ? time.slice(0, 10) : "–");
export const minute = (time) => (time ? `${time.slice(0, 16).replace("T", " ")} UTC` : "–");

/** A measured value with its 95% interval. */
export const Measured = ({ of, say = percent }) =>
  !of
    ? "–"
    : h(
        "span",
        null,
        say(of.value),
        of.low == null ? null : h("span", { className: "soft nowrap" }, ` ${say(of.low)} to ${say(of.high)}`),
      );

/** A link to another of Airflow's pages. */
export const Inside = ({ to, children }) => h(Link, { to }, children);

/** A link that opens in a new tab. */
export const Outside = ({ href, children }) =>
  h("a", { href, target: "_blank", rel: "noopener noreferrer" }, children, h("span", { "aria-hidden": true }, " ↗"));

export const runPath = (runId, dagId = TRAINING) => `/dags/${dagId}/runs/${encodeURIComponent(runId)}`;
export const reportPath = (runId, dagId = TRAINING) => `${runPath(runId, dagId)}/plugin/report`;

/** A run's name; a link to its report if Airflow knows the run. */
export const RunName = ({ row, children }) =>
  row.state ? h(Inside, { to: reportPath(row.run_id) }, children ?? row.run_id) : (children ?? row.run_id);

/** Return the newest of the history's rows (oldest first), preferably one that Airflow knows. */
export const newestOf = (rows) => rows.filter(({ state }) => state).pop() ?? rows[rows.length - 1];

/**
 * A table. Columns: {name, cell: row => content, number: whether right-aligned, key: if the name is not unique}; the
 * first one is the row header.
 *
 * sort: {name, down} of the column that the rows are sorted by; setSort(name): called if a reader chooses a column.
 */
export const Table = ({ caption, columns, rows, mark = () => null, sort, setSort }) =>
  h(
    "div",
    { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      null,
      h("caption", null, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          columns.map((column) =>
            h(
              "th",
              {
                key: column.key ?? column.name,
                scope: "col",
                className: column.number && "number",
                "aria-sort": sort?.name === column.name ? (sort.down ? "descending" : "ascending") : undefined,
              },
              setSort ? h(Sorter, { name: column.name, sort, setSort }) : column.name,
            ),
          ),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map((row, index) =>
          h(
            "tr",
            { key: index, className: mark(row) },
            columns.map((column, place) =>
              h(
                place ? "td" : "th",
                { key: column.key ?? column.name, scope: place ? undefined : "row", className: column.number && "number" },
                column.cell(row),
              ),
            ),
          ),
        ),
      ),
    ),
  );

const Sorter = ({ name, sort, setSort }) =>
  h(
    "button",
    { type: "button", className: "sorter", onClick: () => setSort(name) },
    name,
    h("span", { "aria-hidden": true }, sort.name === name ? (sort.down ? " ↓" : " ↑") : ""),
  );

export const Section = ({ title, children }) => h("section", { "aria-label": title }, h("h2", null, title), children);

/** A notice: kind is `info`, `success`, `warning` or `error`. */
export const Notice = ({ kind = "info", title, children }) =>
  h(
    "div",
    { className: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
    h("strong", null, title),
    children,
  );

/** What the labels are and what a model must not be used for; nothing if they are not about people. */
export const Limits = ({ about }) =>
  about &&
  h(
    "p",
    { className: "limits" },
    h("strong", null, about.title),
    `: ${about.text} A model must not be used ${about.must_not.join("; ")}.`,
  );

/**
 * The frame of a page, limited to the visible width: in a narrow window Airflow clips what is beside its grid of runs
 * instead of wrapping it.
 */
export function Page({ children }) {
  const ref = useRef(null);
  useEffect(() => {
    const around = [];
    for (let element = ref.current.parentElement; element; element = element.parentElement) around.push(element);
    const observer = new ResizeObserver(() => {
      const right = Math.min(...around.map((element) => element.getBoundingClientRect().right));
      ref.current.style.maxWidth = `${Math.max(240, right - ref.current.getBoundingClientRect().left)}px`;
    });
    around.forEach((element) => observer.observe(element));
    return () => observer.disconnect();
  }, []);
  return h(
    "div",
    { className: "open-images", ref },
    h("link", { rel: "stylesheet", href: STYLE, precedence: "default" }),
    children,
  );
}

/** A page of fetched data: `show(data)` once it has arrived. */
export const Loaded = ({ answer, show }) =>
  h(
    Page,
    null,
    answer.error &&
      h(
        Notice,
        { kind: "error", title: answer.data ? "This page may be out of date." : "This page cannot be loaded." },
        h("p", null, answer.error),
      ),
    answer.data && show(answer.data),
    !answer.data && !answer.error && h("p", { className: "soft", role: "status" }, "Loading …"),
  );
