// Draws the candidates of this page. One candidate at one stop is multiplied out from its poses at a time; all balls and
// sticks are one mesh, so that they have sizes in Å, light and hidden sides.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const scene = find("picture"), curve = find("curve"), slider = find("scale"), chooser = find("candidate");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const CLASH = 0, BOND = 1, SHORT = 2;
  const LINES = [
    { kind: CLASH, name: "clash", variable: "--clash", dash: "solid", width: 4 },
    { kind: BOND, name: "hydrogen bond", variable: "--bond", dash: "dash", width: 6 },
    { kind: SHORT, name: "short contact", variable: "--short", dash: "dot", width: 3 },
  ];
  // From the front, so near that the cluster fills the shorter side of the picture.
  const front = () => ({
    eye: { x: 0, y: 0, z: 1.02 * Math.max(1, scene.clientHeight / (scene.clientWidth || 1)) },
    up: { x: 0, y: 1, z: 0 }, center: { x: 0, y: 0, z: 0 },
  });
  const state = { candidate: 0, stop: 0, coloring: "element", contacts: "some", camera: front(), playing: 0, names: false };

  // ---- unpacking ----------------------------------------------------------------------------------------------

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const floats = (text) => new Float32Array(bytes(text));
  const whole = (text, below) => (below < 65536 ? new Uint16Array(bytes(text)) : new Uint32Array(bytes(text)));

  for (const molecule of data.molecules) molecule.positions = floats(molecule.positions);

  // What does not change along the way: atoms, their molecules, bonds.
  function open(candidate) {
    if (candidate.numbers) return candidate;
    const numbers = [], owner = [], bonds = [];
    candidate.kind.forEach((kind, copy) => {
      const molecule = data.molecules[kind], first = numbers.length;
      for (const number of molecule.numbers) { numbers.push(number); owner.push(copy); }
      for (const atom of molecule.bonds) bonds.push(first + atom);
    });
    return Object.assign(candidate, { numbers, owner, bonds, poses: floats(candidate.poses) });
  }

  function positionsOf(candidate, stop) {
    const out = new Float32Array(3 * candidate.numbers.length), copies = candidate.kind.length;
    let at = 0;
    candidate.kind.forEach((kind, copy) => {
      const t = data.molecules[kind].positions, p = 12 * (stop * copies + copy), m = candidate.poses;
      for (let a = 0; a < t.length; a += 3) {
        for (let row = 0; row < 3; row++) {
          const q = p + 3 + 3 * row;
          out[at++] = m[p + row] + m[q] * t[a] + m[q + 1] * t[a + 1] + m[q + 2] * t[a + 2];
        }
      }
    });
    return out;
  }

  // ---- balls and sticks ---------------------------------------------------------------------------------------

  // A ball of 6, 12 or 42 corners: the more atoms, the fewer.
  function ball(level) {
    const g = (1 + Math.sqrt(5)) / 2;
    let corners = level === 0
      ? [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]
      : [[-1, g, 0], [1, g, 0], [-1, -g, 0], [1, -g, 0], [0, -1, g], [0, 1, g], [0, -1, -g], [0, 1, -g],
         [g, 0, -1], [g, 0, 1], [-g, 0, -1], [-g, 0, 1]];
    let faces = level === 0
      ? [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
      : [[0, 11, 5], [0, 5, 1], [0, 1, 7], [0, 7, 10], [0, 10, 11], [1, 5, 9], [5, 11, 4], [11, 10, 2], [10, 7, 6],
         [7, 1, 8], [3, 9, 4], [3, 4, 2], [3, 2, 6], [3, 6, 8], [3, 8, 9], [4, 9, 5], [2, 4, 11], [6, 2, 10],
         [8, 6, 7], [9, 8, 1]];
    if (level === 2) {
      const known = new Map(), finer = [];
      const middle = (a, b) => {
        const key = Math.min(a, b) + 1000 * Math.max(a, b);
        if (!known.has(key)) { known.set(key, corners.length); corners.push(corners[a].map((v, i) => (v + corners[b][i]) / 2)); }
        return known.get(key);
      };
      for (const [a, b, c] of faces) {
        const ab = middle(a, b), bc = middle(b, c), ca = middle(c, a);
        finer.push([a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]);
      }
      faces = finer;
    }
    corners = corners.map((v) => { const size = Math.hypot(...v); return v.map((x) => x / size); });
    return { corners, faces };
  }
  const BALLS = [ball(0), ball(1), ball(2)];

  function mesh(candidate, x) {
    const atoms = candidate.numbers.length, sides = atoms > 6000 ? 3 : atoms > 1500 ? 4 : 6;
    const { corners, faces } = BALLS[atoms > 6000 ? 0 : atoms > 1500 ? 1 : 2];
    const halves = candidate.bonds.length;
    const points = atoms * corners.length + halves * 2 * sides, cells = atoms * faces.length + halves * 2 * sides;
    const out = {
      x: new Float32Array(points), y: new Float32Array(points), z: new Float32Array(points), atom: new Uint32Array(points),
      i: new Uint32Array(cells), j: new Uint32Array(cells), k: new Uint32Array(cells),
    };
    let p = 0, c = 0;
    const point = (px, py, pz, atom) => { out.x[p] = px; out.y[p] = py; out.z[p] = pz; out.atom[p++] = atom; };
    const cell = (a, b, d) => { out.i[c] = a; out.j[c] = b; out.k[c++] = d; };
    for (let a = 0; a < atoms; a++) {
      const r = data.elements[candidate.numbers[a]].radius, first = p;
      for (const [u, v, w] of corners) point(x[3 * a] + r * u, x[3 * a + 1] + r * v, x[3 * a + 2] + r * w, a);
      for (const [u, v, w] of faces) cell(first + u, first + v, first + w);
    }
    for (let b = 0; b < candidate.bonds.length; b += 2) {
      const ends = [candidate.bonds[b], candidate.bonds[b + 1]];
      const hydrogen = ends.some((a) => candidate.numbers[a] === 1), r = hydrogen ? 0.1 : 0.14;
      const from = [0, 1, 2].map((d) => x[3 * ends[0] + d]), to = [0, 1, 2].map((d) => x[3 * ends[1] + d]);
      const along = to.map((v, d) => v - from[d]), length = Math.hypot(...along) || 1;
      const e = along.map((v) => v / length);
      const least = e.map(Math.abs).indexOf(Math.min(...e.map(Math.abs)));
      const u = unit(cross(e, [0, 1, 2].map((d) => (d === least ? 1 : 0)))), v = cross(e, u);
      for (const half of [0, 1]) {
        const first = p;
        for (const share of [half / 2, half / 2 + 0.5]) {
          for (let s = 0; s < sides; s++) {
            const cos = r * Math.cos((2 * Math.PI * s) / sides), sin = r * Math.sin((2 * Math.PI * s) / sides);
            point(...[0, 1, 2].map((d) => from[d] + share * along[d] + cos * u[d] + sin * v[d]), ends[half]);
          }
        }
        for (let s = 0; s < sides; s++) {
          const next = (s + 1) % sides;
          cell(first + s, first + next, first + sides + s);
          cell(first + next, first + sides + next, first + sides + s);
        }
      }
    }
    return out;
  }

  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const unit = (a) => { const size = Math.hypot(...a) || 1; return a.map((v) => v / size); };

  // ---- the picture --------------------------------------------------------------------------------------------

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const numbersIn = Object.keys(data.elements).map(Number);

  function palette() {
    return state.coloring === "element" ? numbersIn.map((z) => data.elements[z].color) : data.colors;
  }

  function colorOf(candidate, atom) {
    return state.coloring === "element"
      ? numbersIn.indexOf(candidate.numbers[atom]) : candidate.owner[atom] % data.colors.length;
  }

  function contactsAt(candidate, stop) {
    const packed = candidate.contacts && candidate.contacts[stop];
    return packed ? packed.map((text) => whole(text, open(candidate).numbers.length)) : null;
  }

  function traces(candidate, stop) {
    const x = positionsOf(candidate, stop), body = mesh(candidate, x), colors = palette();
    const share = candidate.numbers.map((_, a) => (colorOf(candidate, a) + 0.5) / colors.length);
    const out = [{
      type: "mesh3d", x: body.x, y: body.y, z: body.z, i: body.i, j: body.j, k: body.k,
      intensity: Float32Array.from(body.atom, (a) => share[a]), cmin: 0, cmax: 1, showscale: false, hoverinfo: "skip",
      colorscale: colors.flatMap((c, n) => [[n / colors.length, c], [(n + 1) / colors.length, c]]), flatshading: false,
      lighting: { ambient: 0.62, diffuse: 0.5, specular: 0.12, roughness: 0.55, fresnel: 0.05,
                  facenormalsepsilon: 0, vertexnormalsepsilon: 0 },
      lightposition: { x: -4000, y: 6000, z: 9000 },
    }];
    // Names under the pointer cost as much as the picture, so they come with the first pointer.
    if (state.names) out.push({
      type: "scatter3d", mode: "markers", marker: { size: 9, color: "rgba(0,0,0,0)", line: { width: 0 } },
      ...columns(x), hovertemplate: "%{text}<extra></extra>",
      text: candidate.numbers.map((z, a) => `${data.elements[z].symbol}, molecule ${candidate.owner[a] + 1}`),
    });
    const contacts = contactsAt(candidate, stop);
    for (const line of LINES) {
      const wanted = state.contacts === "all" || (state.contacts === "some" && line.kind !== SHORT);
      const pairs = (wanted && contacts && contacts[line.kind]) || [];
      const ends = { x: [], y: [], z: [] };
      for (let n = 0; n < pairs.length; n += 2) {
        for (const [d, axis] of ["x", "y", "z"].entries()) {
          ends[axis].push(x[3 * pairs[n] + d], x[3 * pairs[n + 1] + d], null);
        }
      }
      out.push({ type: "scatter3d", mode: "lines", ...ends, hoverinfo: "skip", connectgaps: false,
                 line: { color: color(line.variable), width: line.width, dash: line.dash } });
    }
    return out;
  }

  const columns = (x) => Object.fromEntries(
    ["x", "y", "z"].map((axis, d) => [axis, Float32Array.from({ length: x.length / 3 }, (_, a) => x[3 * a + d])]));

  function layout() {
    const axis = { visible: false, range: [-data.radius, data.radius], autorange: false, showspikes: false };
    return {
      margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: color("--panel"), showlegend: false, dragmode: "orbit",
      hoverlabel: { bgcolor: color("--paper"), bordercolor: color("--rule"), font: { color: color("--ink") } },
      scene: { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "cube", camera: state.camera, bgcolor: color("--panel") },
    };
  }

  const settings = {
    displaylogo: false, responsive: true, displayModeBar: true,
    modeBarButtons: [["toImage", "zoom3d", "pan3d", "orbitRotation"]],
    toImageButtonOptions: { filename: "kflow", scale: 2 },
  };

  function hasWebGL() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl") || canvas.getContext("experimental-webgl"));
  }
  const drawable = hasWebGL();
  if (!drawable) {
    find("trouble").textContent = "This browser has no WebGL, which the picture needs; the tables do not.";
    find("trouble").hidden = false;
    scene.hidden = true;
  }

  let asked = false, busy = Promise.resolve();
  function draw() {
    if (asked || !drawable) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      const candidate = open(data.candidates[state.candidate]);
      busy = busy.then(() => Plotly.react(scene, traces(candidate, state.stop), layout(), settings)).then(() => {
        if (!scene.dataset.ready) {
          scene.dataset.ready = "yes";
          performance.mark("first picture");
          scene.on("plotly_relayout", (change) => { if (change["scene.camera"]) state.camera = change["scene.camera"]; });
        }
        scene.dataset.drawn = `${state.candidate}/${state.stop}`;
        drawCurve();
      });
    });
  }

  // ---- what each shell has moved ------------------------------------------------------------------------------

  function drawCurve() {
    const walk = data.candidates[state.candidate].walk;
    if (!walk || curve.dataset.drawn === `${state.candidate}/${dark.matches}`) return;
    curve.dataset.drawn = `${state.candidate}/${dark.matches}`;
    const symbols = ["circle", "square", "diamond", "triangle-up", "cross", "x"], lines = [];
    for (const [quantity, axis] of [["moved", ""], ["turned", "2"]]) {
      for (let shell = 0; shell < walk.progress[0].length; shell++) {
        const tint = color(`--shell${(shell % 6) + 1}`);
        lines.push({
          type: "scatter", mode: "lines+markers", x: walk.scale, y: walk[quantity].map((row) => row[shell]),
          xaxis: "x", yaxis: "y" + axis, name: `shell ${shell + 1}`, legendgroup: String(shell), showlegend: !axis,
          line: { color: tint, width: 2 }, marker: { symbol: symbols[shell % 6], size: 6, color: tint },
          hovertemplate: `k %{x:.2f}: %{y:.3g}<extra>shell ${shell + 1}</extra>`,
        });
      }
    }
    const common = { gridcolor: color("--rule"), zerolinecolor: color("--rule"), linecolor: color("--rule"), rangemode: "tozero" };
    Plotly.react(curve, lines, {
      margin: { l: 60, r: 10, t: 30, b: 45 }, paper_bgcolor: color("--paper"), plot_bgcolor: color("--paper"),
      font: { color: color("--ink"), size: 13 }, hovermode: "closest", shapes: [cursor(walk)],
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      xaxis: { ...common, title: { text: "scale k" }, anchor: "y2", range: [-0.05, walk.progress[0].length + 0.05] },
      yaxis: { ...common, title: { text: "moved, Å²" }, domain: [0.55, 1] },
      yaxis2: { ...common, title: { text: "turned, rad²" }, domain: [0, 0.45] },
    }, { displayModeBar: false, responsive: true });
  }

  function cursor(walk) {
    const k = walk.scale[Math.min(state.stop, walk.scale.length - 1)];
    return { type: "line", xref: "x", yref: "paper", x0: k, x1: k, y0: 0, y1: 1, line: { color: color("--mark"), width: 2 } };
  }

  // ---- words --------------------------------------------------------------------------------------------------

  const count = (n, name) => `${n} ${name}${n === 1 ? "" : name.endsWith("clash") ? "es" : "s"}`;

  function tell() {
    const candidate = data.candidates[state.candidate], walk = candidate.walk;
    const contacts = contactsAt(candidate, state.stop);
    const parts = [`Candidate ${state.candidate + 1} of ${data.candidates.length}`];
    if (walk) {
      const last = state.stop === candidate.stops - 1;
      const at = last ? "result" : `k = ${walk.scale[state.stop].toFixed(2)} of ${walk.progress[0].length}`;
      find("stop").textContent = at;
      slider.setAttribute("aria-valuetext", at);
      parts.push(last ? "result, volume restored and clashes resolved as asked" : state.stop === 0 ? "random start" : at);
      find("shells").replaceChildren(...walk.progress[Math.min(state.stop, walk.scale.length - 1)].map((alpha, shell) => {
        const item = document.createElement("span"), bar = document.createElement("i"), fill = document.createElement("b");
        const part = Math.round(100 * alpha);
        fill.style.width = `${part}%`;
        item.style.color = `var(--shell${(shell % 6) + 1})`;
        bar.append(fill);
        item.append(`shell ${shell + 1}`, bar, alpha >= 1 ? "done" : alpha > 0 ? `${part} %` : "waits");
        return item;
      }));
    }
    if (contacts) {
      parts.push(...LINES.filter((line) => contacts[line.kind]).map((line) => count(contacts[line.kind].length / 2, line.name)));
    }
    find("said").textContent = parts.join(" · ");
    scene.setAttribute("aria-label", `Ball-and-stick picture: ${parts.join(", ")}`);
  }

  function legend() {
    const candidate = open(data.candidates[state.candidate]), items = [];
    const item = (name, draw) => {
      const li = document.createElement("li");
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 24 12");
      svg.setAttribute("aria-hidden", "true");
      const shape = document.createElementNS("http://www.w3.org/2000/svg", draw.tag);
      for (const [key, value] of Object.entries(draw.with)) shape.setAttribute(key, value);
      svg.append(shape);
      li.append(svg, name);
      items.push(li);
    };
    if (state.coloring === "element") {
      for (const z of numbersIn.filter((z) => candidate.numbers.includes(z))) {
        item(data.elements[z].symbol, { tag: "circle", with: { cx: 12, cy: 6, r: 5, fill: data.elements[z].color, stroke: color("--pale") } });
      }
    } else {
      item("each molecule its own colour", { tag: "circle", with: { cx: 12, cy: 6, r: 5, fill: data.colors[0] } });
    }
    if (candidate.contacts && state.contacts !== "none") {
      const dashes = { solid: "", dash: "6 3", dot: "2 2" };
      for (const line of LINES.filter((line) => state.contacts === "all" || line.kind !== SHORT)) {
        item(candidate.walk && line.kind === SHORT ? `${line.name} (of the result only)` : line.name, { tag: "line", with: { x1: 0, x2: 24, y1: 6, y2: 6, stroke: color(line.variable), "stroke-width": 3, "stroke-dasharray": dashes[line.dash] } });
      }
    }
    find("legend").replaceChildren(...items);
  }

  // ---- what the user does -------------------------------------------------------------------------------------

  function show(candidate) {
    state.candidate = Math.max(0, Math.min(data.candidates.length - 1, candidate));
    const entry = data.candidates[state.candidate], walk = entry.walk;
    state.stop = entry.stops - 1;
    chooser.value = String(state.candidate);
    slider.max = String(entry.stops - 1);
    for (const id of ["steps", "shells", "along"]) find(id).hidden = !walk;
    find("previous").disabled = state.candidate === 0;
    find("next").disabled = state.candidate === data.candidates.length - 1;
    document.querySelectorAll("tr.shown").forEach((row) => row.classList.remove("shown"));
    const row = find(`row${state.candidate}`);
    if (row) row.classList.add("shown");
    slider.value = String(state.stop);
    find("energies").hidden = !walk;
    find("view").classList.toggle("alone", !walk);
    tell();
    legend();
    draw();
    if (!drawable) drawCurve();
  }

  function go(stop) {
    const entry = data.candidates[state.candidate];
    state.stop = Math.max(0, Math.min(entry.stops - 1, stop));
    slider.value = String(state.stop);
    tell();
    draw();
    if (entry.walk && curve.dataset.drawn) Plotly.relayout(curve, { shapes: [cursor(entry.walk)] });
  }

  function play(on) {
    clearInterval(state.playing);
    state.playing = on ? setInterval(() => {
      const last = data.candidates[state.candidate].stops - 1;
      if (state.stop >= last) play(false); else go(state.stop + 1);
    }, 450) : 0;
    find("play").textContent = on ? "Pause" : "Play";
    find("play").setAttribute("aria-pressed", String(on));
  }

  // Turns the eye about the vertical (across) or horizontal (up) axis of the picture, radians, or nears it.
  function orbit(across, up, nearer = 1) {
    const v = (p) => [p.x, p.y, p.z], p = ([x, y, z]) => ({ x, y, z });
    const turn = (a, axis, angle) => {
      const c = Math.cos(angle), s = Math.sin(angle), along = axis[0] * a[0] + axis[1] * a[1] + axis[2] * a[2];
      return cross(axis, a).map((w, d) => a[d] * c + w * s + axis[d] * along * (1 - c));
    };
    let eye = v(state.camera.eye), top = v(state.camera.up);
    const right = unit(cross(top, eye));
    top = unit(cross(eye, right));
    eye = turn(turn(eye, top, across), right, up).map((w) => w * nearer);
    top = turn(top, right, up);
    look({ ...state.camera, eye: p(eye), up: p(top) });
  }

  function look(camera) {
    state.camera = camera;
    if (drawable) Plotly.relayout(scene, { "scene.camera": camera });
  }

  find("view").addEventListener("keydown", (event) => {
    const tag = event.target.tagName, radio = event.target.type === "radio", range = event.target === slider;
    if (tag === "SELECT" || radio || event.altKey || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (steps && event.shiftKey) orbit(-0.15 * steps[0], 0.15 * steps[1]);
    else if (steps && steps[1]) show(state.candidate + steps[1]);
    else if (steps) go(state.stop + steps[0]);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(Infinity);
    else if ((event.key === "+" || event.key === "=") && !range) orbit(0, 0, 0.9);
    else if (event.key === "-" && !range) orbit(0, 0, 1 / 0.9);
    else return;
    event.preventDefault();
  });
  slider.addEventListener("input", () => { play(false); go(Number(slider.value)); });
  chooser.addEventListener("change", () => show(Number(chooser.value)));
  find("previous").addEventListener("click", () => show(state.candidate - 1));
  find("next").addEventListener("click", () => show(state.candidate + 1));
  find("reset").addEventListener("click", () => look(front()));
  find("play").addEventListener("click", () => {
    if (!state.playing && state.stop === data.candidates[state.candidate].stops - 1) go(0);
    play(!state.playing);
  });
  for (const name of ["coloring", "contacts"]) {
    find(name).addEventListener("change", (event) => { state[name] = event.target.value; legend(); draw(); });
  }
  document.querySelectorAll("button[data-show]").forEach((button) => {
    button.disabled = Number(button.dataset.show) >= data.candidates.length;
    button.addEventListener("click", () => { show(Number(button.dataset.show)); find("view").scrollIntoView({ block: "nearest" }); });
  });
  dark.addEventListener("change", () => { legend(); draw(); drawCurve(); });
  scene.addEventListener("pointermove", () => { state.names = true; draw(); }, { once: true });

  chooser.replaceChildren(...data.candidates.map((_, n) => new Option(`${n + 1}`, String(n))));
  if (data.candidates.every((candidate) => !candidate.contacts)) find("contacts").hidden = true;
  show(0);
})();
