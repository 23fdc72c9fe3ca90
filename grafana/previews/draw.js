// Draws a dashboard with its data: what Grafana would show of it, in plain form. Runs in the page, beside uPlot.

/* global uPlot */

const PALETTE = [
  "#56a64b", "#f2cc0c", "#3274d9", "#ff780a", "#e02f44", "#8f3bb8", "#0a50a1", "#8a6a1f",
  "#37872d", "#c4162a", "#5794f2", "#b877d9", "#96d98d", "#ffb357", "#705da0", "#447ebc",
];
const COLORS = { green: "#37872d", orange: "#e0752d", red: "#c4162a" };
const CURRENCY = "currency:";

/** A number with a prefix of thousands. */
function scaled(value, unit, decimals) {
  const steps = ["", "k", "M", "G", "T", "P"];
  let place = 0;
  let number = value;
  while (Math.abs(number) >= 1_000 && place < steps.length - 1) {
    number /= 1_000;
    place += 1;
  }
  const digits = decimals ?? (Math.abs(number) >= 100 || Number.isInteger(number) ? 0 : Math.abs(number) >= 10 ? 1 : 2);
  return `${Number(number.toFixed(digits))} ${steps[place]}${unit}`.trim();
}

function duration(seconds) {
  const units = [
    ["year", 31_536_000], ["week", 604_800], ["day", 86_400], ["h", 3_600], ["min", 60],
    ["s", 1], ["ms", 1e-3], ["µs", 1e-6],
  ];
  const [unit, length] = units.find(([, length]) => Math.abs(seconds) >= length) ?? units.at(-1);
  const number = Number((seconds / length).toPrecision(3));
  return seconds === 0 ? "0 s" : `${number} ${unit}${length > 80_000 && number !== 1 ? "s" : ""}`;
}

function shown(value, { unit, decimals, mappings }) {
  const mapped = mappings?.[0]?.options[String(value)]?.text;
  if (mapped) return mapped;
  if (value === undefined || Number.isNaN(value)) return "no value";
  switch (unit) {
    case "percentunit":
      return `${Number((value * 100).toPrecision(3))} %`;
    case "s":
      return duration(value);
    case "decbytes":
      return scaled(value, "B", decimals);
    case "bps":
      return scaled(value, "b/s", decimals);
    case "pps":
      return scaled(value, "p/s", decimals);
    case "ops":
      return scaled(value, "/s", decimals);
    case "reqps":
      return scaled(value, "/s", decimals);
    case CURRENCY:
      return decimals === undefined ? String(Number(value.toPrecision(3))) : value.toFixed(decimals);
    default:
      return scaled(value, "", decimals);
  }
}

function color(value, defaults) {
  if (defaults.color.mode !== "thresholds") return "#24292e";
  const steps = defaults.thresholds.steps.filter((step) => step.value === null || value >= step.value);
  return COLORS[steps.at(-1).color] ?? steps.at(-1).color;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const last = (frame) => frame.points.at(-1)[1];

function stat(frames, panel) {
  const { defaults } = panel.fieldConfig;
  const value = (frame) => {
    const big = element("b", {}, shown(last(frame), defaults));
    big.style.color = color(last(frame), defaults);
    return element("div", { className: "value" }, big, frames.length > 1 ? frame.name : "");
  };
  return element("div", { className: "body values" }, ...frames.map(value));
}

function gauge(frames, panel) {
  const { defaults } = panel.fieldConfig;
  const top = defaults.max ?? 1;
  const arc = (from, to, radius, stroke, width) => {
    const point = (part) => {
      const angle = Math.PI * (1 - Math.min(1, Math.max(0, part)));
      return `${60 + radius * Math.cos(angle)} ${62 - radius * Math.sin(angle)}`;
    };
    return `<path d="M ${point(from)} A ${radius} ${radius} 0 0 1 ${point(to)}" fill="none" stroke="${stroke}" stroke-width="${width}"/>`;
  };
  const dial = (frame) => {
    const value = last(frame);
    const { steps } = defaults.thresholds;
    const ring = steps.map((step, place) =>
      arc((step.value ?? 0) / top, (steps[place + 1]?.value ?? top) / top, 55, COLORS[step.color], 3),
    );
    const svg = `<svg viewBox="0 0 120 66" width="${frames.length > 2 ? 120 : 170}">${arc(0, 1, 46, "#eceff2", 11)}${arc(0, value / top, 46, color(value, defaults), 11)}${ring.join("")}<text x="60" y="58" text-anchor="middle" font-size="15" font-weight="600" fill="${color(value, defaults)}">${shown(value, defaults)}</text></svg>`;
    const made = element("div", { className: "value", innerHTML: svg });
    if (frames.length > 1) made.append(element("div", {}, frame.name));
    return made;
  };
  return element("div", { className: "body values" }, ...frames.map(dial));
}

function bargauge(frames, panel) {
  const { defaults } = panel.fieldConfig;
  const top = Math.max(...frames.map(last));
  const rows = frames.flatMap((frame) => {
    const bar = element("div");
    bar.style.width = `${(100 * Math.max(0, last(frame))) / top}%`;
    return [element("span", {}, frame.name), element("div", {}, bar), element("b", {}, shown(last(frame), defaults))];
  });
  return element("div", { className: "body bars" }, ...rows);
}

/** Halfway to white: what is stacked must not shine through. */
function tint(paint) {
  const part = (at) => Math.round((Number.parseInt(paint.slice(at, at + 2), 16) + 255) / 2);
  return `rgb(${part(1)} ${part(3)} ${part(5)})`;
}

/** Series on common times; a gap is null. */
function aligned(frames) {
  const times = [...new Set(frames.flatMap((frame) => frame.points.map(([time]) => time)))].sort((a, b) => a - b);
  const columns = frames.map((frame) => {
    const values = new Map(frame.points);
    return times.map((time) => (Number.isFinite(values.get(time)) ? values.get(time) : null));
  });
  return [times, ...columns];
}

function timeseries(frames, panel, box) {
  const { defaults } = panel.fieldConfig;
  const isStacked = defaults.custom.stacking.mode === "normal";
  const [times, ...columns] = aligned(frames);
  const tops = structuredClone(columns);
  if (isStacked) {
    for (let place = 1; place < tops.length; place++) {
      tops[place] = tops[place].map((value, nth) => (value ?? 0) + (tops[place - 1][nth] ?? 0));
    }
  }
  const paint = (nth) => PALETTE[nth % PALETTE.length];
  const alpha = Math.round((defaults.custom.fillOpacity / 100) * 255).toString(16).padStart(2, "0");
  const order = isStacked ? tops.map((_, nth) => tops.length - 1 - nth) : tops.map((_, nth) => nth);
  const plot = element("div", { className: "body" });
  const isTable = panel.options.legend.displayMode === "table";
  const max = (nth) => Math.max(...columns[nth].filter((value) => value !== null));
  const entries = frames.map((frame, nth) => {
    const swatch = element("i");
    swatch.style.background = paint(nth);
    const name = element("span", {}, swatch, frame.name || "value");
    return { nth, made: isTable ? element("div", {}, name, element("b", {}, shown(max(nth), defaults))) : name };
  });
  if (isTable) entries.sort((a, b) => max(b.nth) - max(a.nth));
  const legend = element("div", { className: isTable ? "table" : "legend" }, ...entries.map(({ made }) => made));
  if (isTable) legend.prepend(element("div", {}, "Name", element("b", {}, "Max")));
  box.append(isTable ? element("div", { className: "beside" }, plot, legend) : plot, isTable ? "" : legend);
  const size = { width: plot.clientWidth, height: plot.clientHeight };
  const axis = { font: "10px DejaVu Sans", stroke: "#6a737d", grid: { stroke: "#eceff2", width: 1 }, ticks: { show: false } };
  const most = Math.max(...tops.flat().filter((value) => value !== null), 0);
  const low = Math.min(...tops.flat().filter((value) => value !== null), 0);
  const span = times.at(-1) - times[0];
  const clock = (time) => {
    const text = new Date(time * 1_000).toISOString();
    return span > 172_800 ? text.slice(5, 10) : text.slice(11, span > 900 ? 16 : 19);
  };
  new uPlot(
    {
      ...size,
      legend: { show: false },
      cursor: { show: false },
      tzDate: (time) => uPlot.tzDate(new Date(time * 1_000), "Etc/UTC"),
      scales: { y: { range: [low * 1.05, most > low ? most * 1.08 : low + 1] } },
      axes: [
        { ...axis, size: 24, space: 90, values: (_, marks) => marks.map(clock) },
        { ...axis, size: 62, space: 28, values: (_, marks) => marks.map((mark) => shown(mark, { ...defaults, mappings: [] })) },
      ],
      series: [
        {},
        ...order.map((nth) => ({
          stroke: paint(nth),
          width: 1.2,
          fill: isStacked ? tint(paint(nth)) : `${paint(nth)}${alpha}`,
          points: { show: false },
        })),
      ],
    },
    [times, ...order.map((nth) => tops[nth])],
    plot,
  );
}

/** Draws the whole page. */
globalThis.draw = (dashboard, caption) => {
  document.querySelector("h1").textContent = dashboard.title;
  document.querySelector("header p").textContent = caption;
  for (const panel of dashboard.panels) {
    const { x, y, w, h } = panel.gridPos;
    const box = element(panel.type === "row" ? "h2" : "section");
    box.style.gridArea = `${y + 1} / ${x + 1} / span ${h} / span ${w}`;
    document.querySelector("main").append(box);
    if (panel.type === "row") {
      box.textContent = panel.title;
      continue;
    }
    box.append(element("h3", {}, panel.title));
    const frames = panel.targets.flatMap((target) => target.frames);
    if (frames.length === 0) {
      box.append(element("div", { className: "body none" }, "no data"));
    } else if (panel.type === "timeseries") {
      timeseries(frames, panel, box);
    } else {
      box.append({ stat, gauge, bargauge }[panel.type](frames, panel));
    }
  }
};
