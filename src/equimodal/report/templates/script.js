"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const say = (text) => { document.getElementById("live").textContent = text; };

  // What figures look like: colours follow the page, so that they fit light, dark and paper.
  const LIGHT = { paper: "#fdfdfb", ink: "#20242a", quiet: "#646b75", line: "#e3e3de" };
  const theme = (c) => {
    const axis = {
      gridcolor: c.line, linecolor: c.line, zerolinecolor: c.quiet, tickcolor: c.line, automargin: true,
      title: { standoff: 8, font: { color: c.quiet, size: 13 } }, tickfont: { color: c.quiet, size: 12 },
    };
    const scale = [[0, c.paper], [1, c.paper === LIGHT.paper ? "#0072b2" : "#2b84c6"]];
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif", color: c.ink, size: 13 },
        colorway: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"],
        xaxis: { ...axis, showgrid: false, zeroline: false }, yaxis: axis,
        margin: { l: 8, r: 8, t: 8, b: 8 },
        legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", font: { color: c.ink } },
        hoverlabel: { bgcolor: c.paper, bordercolor: c.line, font: { color: c.ink }, align: "left" },
        colorscale: { sequential: scale },
      },
      data: {
        heatmap: [{ colorscale: scale, colorbar: { outlinewidth: 0, thickness: 12, tickfont: { color: c.quiet } } }],
        bar: [{ error_x: { color: c.ink, thickness: 1.2 }, error_y: { color: c.ink, thickness: 1.2 }, marker: { line: { width: 0 }, pattern: { fgcolor: c.paper } } }],
        scatter: [{ error_x: { thickness: 1.4 }, error_y: { thickness: 1.4 } }],
      },
    };
  };
  const colours = () => ({ paper: css("--paper"), ink: css("--ink"), quiet: css("--quiet"), line: css("--line") });
  const touch = matchMedia("(pointer: coarse)").matches;

  const content = new Map();
  const read = (figure) => {
    if (!content.has(figure)) content.set(figure, JSON.parse(figure.querySelector("script").textContent));
    return content.get(figure);
  };
  const layout = (spec, c) => ({
    height: 340, dragmode: touch ? false : "zoom", ...structuredClone(spec.layout), template: theme(c),
  });
  // The palette, lighter on a dark page; numbers in the cells of a matrix, only where they have room.
  const BRIGHT = { "#0072b2": "#4ba3e3", "#d55e00": "#f08445", "#009e73": "#2fbf95", "#cc79a7": "#de9cc0" };
  const dark = (c) => c.paper !== LIGHT.paper;
  const recoloured = (data, c) => (dark(c)
    ? JSON.parse(JSON.stringify(data).replace(/#[0-9a-f]{6}/g, (colour) => BRIGHT[colour] || colour)) : structuredClone(data));
  const traces = (spec, width, c) => recoloured(spec.data, c).map((trace) =>
    trace.type === "heatmap" && (width - 80) / trace.x.length < 34 ? { ...trace, texttemplate: "" } : trace);
  const PAPER = { colours: LIGHT, width: 640 }; // a page of A4 between its margins
  const draw = (figure, { colours: c = colours(), width } = {}) => {
    const { spec } = read(figure);
    const drawing = figure.querySelector(".drawing");
    Plotly.react(
      drawing, traces(spec, width || drawing.clientWidth || 640, c), { ...layout(spec, c), width },
      { responsive: true, displayModeBar: false, displaylogo: false, showTips: false },
    ).then(() => figure.setAttribute("data-drawn", ""));
  };
  const drawIn = (root) => {
    all("figure.plot", root).forEach((figure) => draw(figure));
    clouds.filter(({ canvas }) => root.contains(canvas)).forEach((cloud) => drawCloud(cloud));
  };
  const shown = () => all("figure.plot").filter((figure) => figure.offsetParent);

  // Something to take away, made where the reader is.
  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    say(`Saved ${name}`);
  };
  const quoted = (value) => {
    const text = value === null ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (columns) => {
    const names = Object.keys(columns);
    const count = names.length ? columns[names[0]].length : 0;
    const rows = Array.from({ length: count }, (_, i) => names.map((name) => quoted(columns[name][i])).join(","));
    return [names.map(quoted).join(","), ...rows].join("\r\n") + "\r\n";
  };
  const svg = async (figure) => {
    const { spec } = read(figure);
    const width = Math.max(640, figure.clientWidth);
    const look = { ...layout(spec, LIGHT), width, paper_bgcolor: LIGHT.paper };
    const url = await Plotly.toImage({ data: structuredClone(spec.data), layout: look }, { format: "svg", width, height: look.height });
    return decodeURIComponent(url.slice(url.indexOf(",") + 1));
  };
  const take = {
    svg: async (figure, name) => save(`${name}.svg`, "image/svg+xml", await svg(figure)),
    csv: (figure, name) => save(`${name}.csv`, "text/csv", csv(read(figure).columns)),
    json: (figure, name) => save(`${name}.json`, "application/json", JSON.stringify(read(figure).columns, null, 1)),
  };
  all("figure.plot").forEach((figure) => {
    const name = () => read(figure).title.replace(/[^\p{L}\p{N}]+/gu, "-").toLowerCase();
    all("[data-take]", figure).forEach((b) => b.addEventListener("click", () => take[b.dataset.take](figure, name())));
  });

  // Point clouds turn under the pointer and the arrow keys; what is nearer is darker and larger.
  const clouds = all("canvas.cloud").map((canvas) => {
    const bytes = atob(canvas.dataset.points);
    const coordinates = Int8Array.from(bytes, (c) => c.charCodeAt(0));
    const view = { canvas, coordinates, yaw: 0.6, pitch: 0.35 };
    const turn = (yaw, pitch) => {
      view.yaw += yaw;
      view.pitch = Math.max(-1.5, Math.min(1.5, view.pitch + pitch));
      drawCloud(view);
    };
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => event.buttons && turn(event.movementX / 80, event.movementY / 80));
    canvas.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[event.key];
      if (!to) return;
      event.preventDefault();
      turn(...to);
    });
    return view;
  });
  const drawCloud = ({ canvas, coordinates, yaw, pitch }, ink = css("--accent")) => {
    const ratio = devicePixelRatio || 1, size = Math.round((canvas.clientWidth || 164) * ratio);
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const points = [];
    for (let i = 0; i < coordinates.length; i += 3) {
      const [x, y, z] = [coordinates[i] / 127, coordinates[i + 1] / 127, coordinates[i + 2] / 127];
      const across = cy * x + sy * z, depth = cy * z - sy * x;
      points.push([across, cp * y - sp * depth, sp * y + cp * depth]);
    }
    points.sort((a, b) => a[2] - b[2]);
    context.fillStyle = ink;
    for (const [x, y, z] of points) {
      const near = Math.max(0, Math.min(1, (z + 1.2) / 2.4)), r = (0.9 + 1.3 * near) * ratio;
      context.globalAlpha = 0.25 + 0.75 * near;
      context.beginPath();
      context.arc(size / 2 + x * size * 0.36, size / 2 - y * size * 0.36, r, 0, 7);
      context.fill();
    }
    canvas.setAttribute("data-drawn", "");
  };

  // Sections as tabs: one stop for the tab key, arrows between them, the address names the open one.
  const tabs = all("[role=tab]");
  const panel = (tab) => document.getElementById(tab.getAttribute("aria-controls"));
  const open = (tab, { focus = false, address = true } = {}) => {
    tabs.forEach((other) => {
      const chosen = other === tab;
      other.setAttribute("aria-selected", chosen);
      other.tabIndex = chosen ? 0 : -1;
      panel(other).hidden = !chosen;
    });
    if (focus) tab.focus();
    const strip = tab.parentElement;
    strip.scrollLeft = tab.offsetLeft - strip.offsetLeft - (strip.clientWidth - tab.clientWidth) / 2;
    if (address) history.replaceState(null, "", `#${panel(tab).id}`);
    drawIn(panel(tab));
  };
  const named = () => tabs.find((tab) => panel(tab).id === decodeURIComponent(location.hash.slice(1)));
  if (tabs.length > 1) {
    document.querySelector("nav").hidden = false;
    document.querySelector("main").classList.add("tabs");
    tabs.forEach((tab, i) => {
      panel(tab).setAttribute("role", "tabpanel");
      tab.addEventListener("click", () => { open(tab); scrollTo(0, Math.min(scrollY, document.querySelector("main").offsetTop - tab.parentElement.offsetHeight)); });
      tab.addEventListener("keydown", (event) => {
        const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        open(tabs[(to + tabs.length) % tabs.length], { focus: true });
      });
    });
    addEventListener("hashchange", () => named() && open(named(), { address: false }));
    open(named() || tabs[0], { address: false });
  } else {
    drawIn(document);
  }

  // Tables sort by the column whose heading is pressed: numbers as numbers, what is missing at the end.
  const compare = (a, b, numeric) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
  };
  all("th button").forEach((button) => {
    const heading = button.parentElement;
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      const column = [...heading.parentElement.children].indexOf(heading);
      const body = heading.closest("table").tBodies[0];
      const value = (row) => row.cells[column].dataset.value;
      const numeric = heading.classList.contains("number");
      all("th", heading.parentElement).forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = (a, b) => (value(a) === "" || value(b) === "" || !down ? 1 : -1);
      body.append(...[...body.rows].sort((a, b) => sign(a, b) * compare(value(a), value(b), numeric)));
    });
  });

  const again = () => {
    shown().forEach((figure) => draw(figure));
    clouds.forEach((cloud) => drawCloud(cloud));
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  addEventListener("beforeprint", () => {
    all("figure.plot").forEach((figure) => draw(figure, PAPER));
    clouds.forEach((cloud) => drawCloud(cloud, "#0a5c91"));
  });
  addEventListener("afterprint", again);
})();
