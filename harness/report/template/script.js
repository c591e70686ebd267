"use strict";
(() => {
  const data = JSON.parse(document.getElementById("payload").textContent);
  const root = document.documentElement;
  // Okabe and Ito's colours, which stay apart for colour-blind readers; a dash tells the eighth cell from the first.
  const palettes = {
    light: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#3B9FD6", "#4D4D4D"],
    dark: ["#56B4E9", "#FF8A3D", "#2BC79A", "#E7A0C8", "#E6B800", "#9BB8FF", "#BDBDBD"],
  };
  const dashes = ["solid", "dash", "dot", "dashdot"];
  const scales = {
    light: { strength: ["#B9CCE3", "#08306B"], diverging: [[0, "#B35806"], [0.25, "#F1A340"], [0.5, "#F7F7F7"], [0.75, "#67A9CF"], [1, "#2166AC"]] },
    dark: { strength: ["#3A5573", "#C9E4FF"], diverging: [[0, "#F1A340"], [0.25, "#A8661C"], [0.5, "#20262D"], [0.75, "#2F78B5"], [1, "#7CC0F5"]] },
  };
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let theme = system.matches ? "dark" : "light";
  const boxes = [...document.querySelectorAll("#cells input")];
  const shown = () => new Set(boxes.length ? boxes.filter((b) => b.checked).map((b) => Number(b.value)) : data.cells.map((_, i) => i));
  // A cell has the colour of its index, what belongs to none the soft one of texts: it counts from -1 down.
  const indexOf = (trace) => trace.cell ?? trace.palette ?? (trace.neutral === undefined ? undefined : -1 - trace.neutral);
  const colour = (i) => i < 0 ? token("--soft") : palettes[theme][i % palettes[theme].length];
  const dash = (i) => i < 0 ? dashes[2 - (i + 1) % 2] : dashes[Math.floor(i / palettes[theme].length) % dashes.length];
  const token = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const blend = ([from, to], share) => `rgb(${channels(from).map((c, i) => Math.round(c + (channels(to)[i] - c) * share)).join(",")})`;
  const drawn = new Set();
  // The width that A4 and letter leave a plot: paper has none to measure before it is laid out.
  const PAPER = 690;
  // So low that a page holds two plots with their headings and legends.
  const LOWER = 0.66;
  let printing = false;
  const chosen = {};

  function dressed(trace, visible) {
    const copy = { ...trace };
    for (const key of ["x", "y"]) if (copy[key]?.shared !== undefined) copy[key] = data.shared[copy[key].shared];
    // Plotly reads a little HTML in names and labels: what comes from data must stay text.
    if (copy.name !== undefined) copy.name = safe(copy.name);
    const at = indexOf(copy);
    if (at !== undefined) {
      copy.line = { color: colour(at), dash: dash(at), width: 2 };
      copy.marker = { color: colour(at) };
    }
    if (copy.error_y) copy.error_y = { ...copy.error_y, color: colour(at) };
    if (copy.faint) copy.marker = { color: colour(at), size: 3, opacity: 0.35 };
    if (copy.band) Object.assign(copy, { fill: "toself", fillcolor: `${colour(at)}22`, line: { width: 0 } });
    if ("shade" in copy) {
      const ink = copy.shade === null ? token("--soft") : blend(scales[theme].strength, copy.shade);
      Object.assign(copy, { line: { color: ink, width: 1.5 }, marker: { color: ink, size: 6 }, customdata: copy.customdata.map(safe) });
    }
    if (copy.scale) {
      copy.colorscale = scales[theme][copy.scale];
      copy.colorbar = { thickness: 12, outlinewidth: 0, ...copy.colorbar };
    }
    copy.visible = copy.cell === undefined || visible.has(copy.cell);
    if ((copy.faint && visible.size > 2) || (copy.band && visible.size > 3)) copy.visible = false;
    for (const key of ["cell", "palette", "neutral", "shade", "band", "faint", "scale"]) delete copy[key];
    return copy;
  }

  function laidOut(layout) {
    const narrow = window.innerWidth < 700;
    const size = narrow || printing ? 11 : 13;
    const axis = (given) => ({
      gridcolor: token("--grid"), zerolinecolor: token("--line"), linecolor: token("--line"), automargin: true, ...given,
      ...(given?.ticktext && { ticktext: given.ticktext.map(safe) }),
      title: { ...(given?.title ?? {}), text: safe(given?.title?.text ?? ""), standoff: 8 },
    });
    const full = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: token("--ink"), size, family: getComputedStyle(document.body).fontFamily },
      margin: { l: narrow ? 44 : 64, r: 12, t: narrow || printing && layout.xaxis?.side !== "top" ? 12 : layout.xaxis?.side === "top" ? 58 : 34, b: 44 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: token("--soft"), activecolor: token("--ink") },
      hoverlabel: { bgcolor: token("--panel"), bordercolor: token("--line"), font: { color: token("--ink") } },
      xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
    };
    if (layout.annotations) full.annotations = layout.annotations.map((note) => ({ ...note, text: safe(note.text), bgcolor: token("--page"), borderpad: 1 }));
    if (layout.yaxis2) full.yaxis2 = axis(layout.yaxis2);
    return full;
  }

  function draw(figure) {
    const plot = document.getElementById(`plot-${figure.key}`);
    const variant = figure.variants[chosen[figure.key] ?? 0];
    plot.style.minWidth = variant.width && !printing ? `${variant.width}px` : "";
    const height = variant.height ?? Number(plot.dataset.height);
    const visible = shown();
    const layout = laidOut(variant.layout);
    layout.showlegend = false;
    if (printing) Object.assign(layout, { width: PAPER, height: variant.height ?? Math.round(height * LOWER) });
    plot.style.height = `${layout.height ?? height}px`;
    Plotly.react(plot, variant.traces.map((trace) => dressed(trace, visible)), layout, {
      responsive: true, displaylogo: false, displayModeBar: window.innerWidth < 700 ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
    explain(document.getElementById(`legend-${figure.key}`), variant.traces, visible);
    document.getElementById(`summary-${figure.key}`).textContent = variant.summary;
    // Plotly measures texts in a hidden drawing, which is none of a screen reader's business.
    document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true");
    drawn.add(figure.key);
  }

  // Plotly's own legend takes its room from the plot, which long names leave none of.
  function explain(legend, traces, visible) {
    const names = new Map();
    for (const trace of traces) {
      const at = indexOf(trace);
      if (at !== undefined && (trace.cell === undefined || visible.has(trace.cell))) names.set(at, data.cells[trace.cell] ?? trace.name);
    }
    legend.replaceChildren(...(names.size < 2 ? [] : [...names].map(([at, name]) => {
      const entry = document.createElement("li");
      const swatch = document.getElementById("swatch").content.cloneNode(true);
      ink(swatch.querySelector("line"), at);
      entry.append(swatch, name);
      return entry;
    })));
  }

  function ink(line, at) {
    line.setAttribute("stroke", colour(at));
    line.setAttribute("stroke-dasharray", { solid: "none", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3" }[dash(at)]);
  }

  const redraw = (keys) => data.figures.filter((f) => (keys ?? drawn).has(f.key)).forEach(draw);
  const all = new Set(data.figures.map((f) => f.key));

  function wear(name) {
    theme = name;
    root.dataset.theme = name;
    const button = document.getElementById("theme");
    button.setAttribute("aria-pressed", String(name === "dark"));
    document.querySelectorAll("#cells .swatch line").forEach(ink);
    redraw();
  }

  function setUpFigures() {
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((e) => e.isIntersecting)) {
        watcher.unobserve(entry.target);
        const figure = data.figures.find((f) => f.key === entry.target.dataset.figure);
        if (!drawn.has(figure.key)) draw(figure);
      }
    }, { rootMargin: "600px" });
    document.querySelectorAll("figure[data-figure]").forEach((element) => watcher.observe(element));
    for (const figure of data.figures) {
      const select = document.getElementById(`choose-${figure.key}`);
      select?.addEventListener("change", () => { chosen[figure.key] = Number(select.value); draw(figure); });
    }
    boxes.forEach((box) => box.addEventListener("change", () => redraw()));
    document.getElementById("theme").addEventListener("click", () => wear(theme === "dark" ? "light" : "dark"));
    system.addEventListener("change", () => wear(system.matches ? "dark" : "light"));
    let before = theme;
    let folded = [];
    window.addEventListener("beforeprint", () => {
      before = theme;
      printing = true;
      folded = [...document.querySelectorAll("details:not([open])")];
      folded.forEach((element) => { element.open = true; });
      redraw(all);
      wear("light");
    });
    window.addEventListener("afterprint", () => {
      folded.forEach((element) => { element.open = false; });
      printing = false;
      wear(before);
    });
  }

  // Tables: sort by a heading's button, filter by a text; numbers sort by their full value, empty ones last.
  function orderOf(cell) {
    return cell.dataset.order !== undefined ? Number(cell.dataset.order) : null;
  }

  function compared(left, right, numeric, sign) {
    if (!numeric) return sign * left.textContent.localeCompare(right.textContent, undefined, { numeric: true });
    const [a, b] = [orderOf(left), orderOf(right)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (a - b);
  }

  function sort(table, column) {
    const heads = [...table.tHead.rows[0].cells];
    const head = heads[column];
    const numeric = head.classList.contains("number");
    const first = numeric && !(table.id in data.tables) ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = head.getAttribute("aria-sort") === first ? other : first;
    heads.forEach((h) => h.setAttribute("aria-sort", h === head ? direction : "none"));
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row, at) => ({ row, at }));
    rows.sort((a, b) => compared(a.row.cells[column], b.row.cells[column], numeric, sign) || a.at - b.at);
    table.tBodies[0].append(...rows.map(({ row }) => row));
  }

  function filter(table, text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    let kept = 0;
    for (const row of table.tBodies[0].rows) {
      const content = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => content.includes(word));
      kept += row.hidden ? 0 : 1;
    }
    const total = table.tBodies[0].rows.length;
    document.getElementById(`${table.id}-count`).textContent = kept === total ? `${total} rows` : `${kept} of ${total} rows`;
  }

  function setUpTables() {
    document.querySelectorAll("table.sortable").forEach((table) => {
      table.tHead.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (button) sort(table, button.parentElement.cellIndex);
      });
    });
    document.querySelectorAll("[data-filter]").forEach((input) => {
      input.addEventListener("input", () => filter(document.getElementById(input.dataset.filter), input.value));
    });
    for (const key of Object.keys(data.tables)) {
      const select = document.getElementById(`choose-${key}`);
      select?.addEventListener("change", () => fill(key, select.value));
    }
  }

  function fill(key, cell) {
    const table = document.getElementById(key);
    const { caption, heads, rows } = data.tables[key][cell];
    const made = (tag, text, numeric, order) => {
      const cell = document.createElement(tag);
      cell.textContent = text;
      if (numeric) cell.className = "number";
      else if (text.length <= 16) cell.className = "short";
      if (order !== null && order !== undefined) cell.dataset.order = String(order);
      return cell;
    };
    table.tHead.rows[0].replaceChildren(...heads.map(([head, numeric]) => {
      const th = made("th", "", numeric);
      th.scope = "col";
      th.setAttribute("aria-sort", "none");
      const button = made("button", head, false);
      button.type = "button";
      th.append(button);
      return th;
    }));
    table.tBodies[0].replaceChildren(...rows.map((row) => {
      const tr = document.createElement("tr");
      tr.append(...row.map(([text, order], i) => made(i ? "td" : "th", text, heads[i][1], order)));
      tr.cells[0].scope = "row";
      return tr;
    }));
    table.caption.firstChild.textContent = caption;
    filter(table, document.querySelector(`[data-filter=${key}]`).value);
  }

  setUpFigures();
  setUpTables();
  wear(theme);
  root.dataset.ready = "true";
})();
