"use strict";
(() => {
  // -- data -----------------------------------------------------------------------------------------------------------

  const data = JSON.parse(document.getElementById("data").textContent);
  const ROOT = 0, UNTRIED = 1, EXPANDED = 2, END = 3;
  const TYPE_NAMES = ["root", "not tried", "expanded", "end of dialogue"];
  const GOLD = 2, PROBE = 4;
  const [LOW, HIGH] = data.range;
  const N = data.count, K = data.strategies.length, SPOKEN = data.spoken.length;

  const parent = new Int32Array(N).fill(-1), first = new Int32Array(N), depth = new Int32Array(N);
  const strategy = new Int16Array(N).fill(-1), type = new Uint8Array(N).fill(UNTRIED), place = new Int32Array(N).fill(-1);
  const q = new Float64Array(N), visits = new Float64Array(N), below = new Int32Array(N), spokenBelow = new Int32Array(N);
  const rollouts = new Map(data.rollouts.map((each) => [each[0], each]));
  const posteriors = new Map(data.posteriors.map(([id, mean, deviation]) => [id, [mean, deviation]])); // of turns
  const believed = posteriors.size > 0;
  const closed = new Map(data.closed); // why a model or its provider refuses for good what comes next at a node

  (function load() {
    type[0] = ROOT;
    [q[0], visits[0]] = data.root;
    for (let i = 0; i < data.families.length; i += 2) {
      const [above, begin] = [data.families[i], data.families[i + 1]];
      first[above] = begin;
      for (let k = 0; k < K; k++) { parent[begin + k] = above; strategy[begin + k] = k; }
    }
    for (let i = 0; i < SPOKEN; i++) {
      const id = data.spoken[i];
      place[id] = i;
      type[id] = +data.kind[i] & 1 ? END : EXPANDED;
      q[id] = data.q[i];
      visits[id] = data.n[i];
    }
    for (let id = 1; id < N; id++) depth[id] = depth[parent[id]] + 1;
    for (let id = N - 1; id > 0; id--) {
      below[parent[id]] += below[id] + 1;
      spokenBelow[parent[id]] += spokenBelow[id] + (type[id] !== UNTRIED || closed.has(id) ? 1 : 0);
    }
  })();
  const untried = N - 1 - SPOKEN - [...closed.keys()].filter((id) => type[id] === UNTRIED).length;

  const flag = (id, bit) => place[id] >= 0 && (+data.kind[place[id]] & bit) !== 0;
  const prior = (id) => data.prior[id - 1];
  const score = (id) => (data.score.length ? data.score[id - 1] : null);
  const said = (id) => data.say[place[id]];
  const replied = (id) => data.reply[place[id]];
  const nameOf = (id) => (id === 0 ? "Start" : data.strategies[strategy[id]][0]);
  const maxVisits = visits.reduce((most, each) => Math.max(most, each), 1);
  const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);
  const SPEAKERS = data.speakers.map(capital);
  const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(2);
  const plain = (x) => (Number.isInteger(x) ? String(x) : x.toFixed(2));
  const $ = (id) => document.getElementById(id);

  function kidsOf(id) {
    return first[id] ? Array.from({ length: K }, (_, k) => first[id] + k) : [];
  }
  function pathTo(id) {
    const path = [];
    for (let at = id; at >= 0; at = parent[at]) path.push(at);
    return path.reverse();
  }

  // -- valid paths and pairs: equations 5 and 6 of the paper, linear in the number of nodes -----------------------------------

  const settings = { ...data.settings };
  const on = new Uint8Array(N), rejected = new Uint8Array(N), good = new Uint8Array(N);
  let validEnds = [], pairCount = 0;

  function judge() {
    const every = settings.pathRule === "all";
    on.fill(0);
    rejected.fill(0);
    validEnds = [];
    pairCount = 0;
    for (let id = 0; id < N; id++) good[id] = (id === 0 || !every || good[parent[id]]) && q[id] >= settings.theta ? 1 : 0;
    if (believed) { // the best whole paths, whatever their Q
      const mean = (id) => pathSums[id] / depth[id];
      const ends = data.spoken.filter((id) => type[id] === END && visits[id] && !closed.has(id));
      const best = new Set(ends.sort((a, b) => mean(b) - mean(a) || a - b).slice(0, data.maxPaths));
      for (const id of data.spoken) good[id] = best.has(id) ? 1 : 0;
    }
    for (const id of data.spoken) {
      if (type[id] !== END || !good[id] || (!believed && visits[id] < settings.minVisits) || closed.has(id)) continue;
      validEnds.push(id);
      for (let at = id; at >= 0 && !on[at]; at = parent[at]) on[at] = 1;
    }
    for (let i = 0; i < data.families.length; i += 2) {
      const begin = data.families[i + 1];
      if (!on[data.families[i]]) continue;
      const chosen = [], losers = [];
      for (let id = begin; id < begin + K; id++) {
        if (on[id]) chosen.push(id);
        else if (isRejected(id)) losers.push(id);
      }
      for (const id of losers) {
        const pairs = chosen.filter((each) => isSure(each, id)).length;
        pairCount += pairs;
        if (pairs) rejected[id] = 1;
      }
    }
  }
  // As mctsdialog.preferences has it: the probability that a reply is better than its sibling, and the least of a pair.
  const FUTURE = 0.5, DOUBT = 2.4, SURPRISE = 0.005, LEAST_CONFIDENCE = 0.6;
  function isSure(one, other) {
    const [mine, theirs] = [posteriors.get(one), posteriors.get(other)];
    const deviation = mine && theirs ? Math.hypot(mine[1], theirs[1]) : 0;
    if (!deviation) return true; // no belief, or certain of both
    const lead = mine[0] - theirs[0] + FUTURE * depth[one] * (q[one] - q[other]);
    return SURPRISE + (1 - 2 * SURPRISE) * normal(lead / (DOUBT * deviation)) >= LEAST_CONFIDENCE;
  }
  function normal(z) { // Abramowitz and Stegun, 7.1.26
    const t = 1 / (1 + (0.3275911 * Math.abs(z)) / Math.SQRT2);
    const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp((-z * z) / 2);
    return z < 0 ? tail / 2 : 1 - tail / 2;
  }
  const isRejected = (id) => type[id] !== UNTRIED && visits[id] >= 1 && (believed || q[id] < settings.theta) && !closed.has(id);

  function listPairs(limit = Infinity) {
    const pairs = [];
    for (let id = 1; id < N && pairs.length < limit; id++) {
      if (!on[id]) continue;
      const begin = first[parent[id]];
      for (let other = begin; other < begin + K; other++) if (rejected[other] && isSure(id, other)) pairs.push([id, other]);
    }
    return pairs;
  }

  const pathSums = new Float64Array(N);
  for (let id = 1; id < N; id++) pathSums[id] = pathSums[parent[id]] + (posteriors.has(id) ? posteriors.get(id)[0] : q[id]);

  function bestPath() {
    let best = -1, mean = -Infinity;
    for (let id = 1; id < N; id++) {
      if (type[id] === END && visits[id] && !closed.has(id) && pathSums[id] / depth[id] > mean) { best = id; mean = pathSums[id] / depth[id]; }
    }
    return best < 0 ? null : [best, mean];
  }

  // -- what is open -----------------------------------------------------------------------------------------------------

  const open = new Uint8Array(N);
  let showUntried = N <= 400 && SPOKEN <= 40;
  const isDot = (id) => type[id] === UNTRIED && (showUntried || closed.has(id)); // shown without having words
  const canOpen = (id) => first[id] > 0 && (showUntried || spokenBelow[id] > 0);

  function openInitially(room, levels) { // as many of the most visited as make no taller a tree than the room, in pixels
    // A parent has no fewer visits than a child and the smaller id, so it comes before it.
    const order = [...data.spoken, 0].filter((id) => first[id] && depth[id] < levels).sort((a, b) => visits[b] - visits[a] || a - b);
    const attempt = (number) => {
      open.fill(0);
      for (const id of order.slice(0, number)) if (id === 0 || open[parent[id]]) open[id] = 1;
      layout();
      return bottom - top <= room;
    };
    let least = 1, most = order.length;
    if (!attempt(most)) {
      while (most - least > 1) {
        const middle = (least + most) >> 1;
        if (attempt(middle)) least = middle;
        else most = middle;
      }
      attempt(least);
    }
  }
  function reveal(id) {
    if (type[id] === UNTRIED && !isDot(id)) { showUntried = true; $("unexpanded").checked = true; }
    for (let at = parent[id]; at >= 0; at = parent[at]) open[at] = 1;
  }

  // -- layout: Buchheim, Juenger and Leipert's tidy tree in linear time, without recursion -----------------------------------
  // An item is a node, or the row of a family's strategies that were not tried.

  const SLOT = 34, DOT = 15, DOTS_IN_ROW = 10, DOT_LINE = 17;
  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';
  const canvas = $("canvas"), context = canvas.getContext("2d");
  context.font = `600 12px ${FONT}`;
  const LABEL = Math.min(260, Math.max(110, ...data.strategies.map(([name]) => context.measureText(name).width)));
  const FIRST = 140, COLUMN = Math.ceil(LABEL) + 84; // from the start to the first turn, and from turn to turn
  const across = (depth) => (depth ? FIRST + (depth - 1) * COLUMN : 0);
  let items = 0, visible = 0, deepest = 0, top = 0, bottom = 0;
  const CAPACITY = SPOKEN + 1 + data.families.length / 2;
  const itemNode = new Int32Array(CAPACITY), itemParent = new Int32Array(CAPACITY), itemFirst = new Int32Array(CAPACITY);
  const itemKids = new Int32Array(CAPACITY), itemIndex = new Int32Array(CAPACITY), itemDepth = new Int32Array(CAPACITY);
  const itemRow = new Int32Array(CAPACITY); // number of dots of a row; 0 for a node
  const height = new Float64Array(CAPACITY), y = new Float64Array(CAPACITY), mod = new Float64Array(CAPACITY);
  const change = new Float64Array(CAPACITY), shift = new Float64Array(CAPACITY);
  const thread = new Int32Array(CAPACITY), ancestor = new Int32Array(CAPACITY);
  const itemOf = new Int32Array(N).fill(-1), dotOf = new Int16Array(N);

  function addItem(node, above, index, dots) {
    const item = items++;
    itemNode[item] = node;
    itemParent[item] = above;
    itemIndex[item] = index;
    itemRow[item] = dots;
    itemKids[item] = 0;
    itemDepth[item] = above < 0 ? 0 : itemDepth[above] + 1;
    height[item] = dots ? 6 + DOT_LINE * Math.ceil(dots / DOTS_IN_ROW) : SLOT;
    y[item] = mod[item] = change[item] = shift[item] = 0;
    thread[item] = -1;
    ancestor[item] = item;
    if (!dots) { itemOf[node] = item; visible++; }
    return item;
  }

  function layout() {
    items = visible = deepest = 0;
    itemOf.fill(-1);
    addItem(0, -1, 0, 0);
    for (let item = 0; item < items; item++) {
      deepest = Math.max(deepest, itemDepth[item]);
      if (!itemRow[item] && open[itemNode[item]] && first[itemNode[item]]) addFamily(item);
    }
    for (let item = items - 1; item >= 0; item--) if (itemKids[item]) placeFamily(item);
    top = Infinity;
    bottom = -Infinity;
    y[0] = middle(0);
    mod[0] = -y[0];
    y[0] = 0;
    for (let item = 0; item < items; item++) {
      if (item) { y[item] += mod[itemParent[item]]; mod[item] += mod[itemParent[item]]; }
      top = Math.min(top, y[item] - height[item] / 2);
      bottom = Math.max(bottom, y[item] + height[item] / 2);
    }
  }

  function addFamily(item) {
    const begin = first[itemNode[item]];
    let index = 0, dots = 0;
    itemFirst[item] = items;
    for (let kid = begin; kid < begin + K; kid++) {
      if (type[kid] !== UNTRIED) addItem(kid, item, index++, 0);
      else if (isDot(kid)) dots++;
    }
    if (dots) {
      const row = addItem(itemNode[item], item, index, dots);
      index++;
      dots = 0;
      for (let kid = begin; kid < begin + K; kid++) {
        if (isDot(kid)) { itemOf[kid] = row; dotOf[kid] = dots++; visible++; }
      }
    }
    itemKids[item] = index;
  }

  function middle(item) { // of the spoken children, so that rows leave a chain straight
    if (!itemKids[item]) return 0;
    const begin = itemFirst[item];
    let last = begin + itemKids[item] - 1;
    if (itemRow[last] && last > begin) last--;
    return (y[begin] + y[last]) / 2;
  }
  const nextTop = (item) => (itemKids[item] ? itemFirst[item] : thread[item]);
  const nextBottom = (item) => (itemKids[item] ? itemFirst[item] + itemKids[item] - 1 : thread[item]);

  function placeFamily(item) {
    const begin = itemFirst[item], stop = begin + itemKids[item];
    let reference = begin;
    for (let kid = begin; kid < stop; kid++) {
      const centre = middle(kid);
      if (kid > begin) {
        y[kid] = y[kid - 1] + (height[kid - 1] + height[kid]) / 2;
        mod[kid] = y[kid] - centre;
        reference = apportion(kid, begin, reference);
      } else {
        y[kid] = centre;
      }
    }
    let moved = 0, changed = 0;
    for (let kid = stop - 1; kid >= begin; kid--) {
      y[kid] += moved;
      mod[kid] += moved;
      changed += change[kid];
      moved += shift[kid] + changed;
    }
  }

  function apportion(item, begin, reference) {
    let inside = item, outside = item, otherInside = item - 1, otherOutside = begin;
    let sInside = mod[inside], sOutside = sInside, sOther = mod[otherInside], sOtherOutside = mod[otherOutside];
    for (;;) {
      const a = nextBottom(otherInside), b = nextTop(inside);
      if (a < 0 || b < 0) break;
      otherInside = a;
      inside = b;
      otherOutside = nextTop(otherOutside);
      outside = nextBottom(outside);
      ancestor[outside] = item;
      const overlap = y[a] + sOther - y[b] - sInside + (height[a] + height[b]) / 2;
      if (overlap > 0) {
        const from = itemParent[ancestor[a]] === itemParent[item] ? ancestor[a] : reference;
        const each = overlap / (itemIndex[item] - itemIndex[from]);
        change[item] -= each;
        shift[item] += overlap;
        change[from] += each;
        y[item] += overlap;
        mod[item] += overlap;
        sInside += overlap;
        sOutside += overlap;
      }
      sOther += mod[a];
      sInside += mod[b];
      sOtherOutside += mod[otherOutside];
      sOutside += mod[outside];
    }
    const a = nextBottom(otherInside), b = nextTop(inside);
    if (a >= 0 && nextBottom(outside) < 0) { thread[outside] = a; mod[outside] += sOther - sOutside; }
    if (b >= 0 && nextTop(otherOutside) < 0) { thread[otherOutside] = b; mod[otherOutside] += sInside - sOtherOutside; return item; }
    return reference;
  }

  // -- view: world to window. One number u is the zoom: 0 is full size, -L shows everything; both scales follow it ----------------

  const view = { u: 0, tx: 0, ty: 0, lx: 0, ly: 0 };
  let W = 0, H = 0, ratio = 1;
  const U_MOST = Math.log(3);

  function scale(log, growth) {
    const span = Math.max(view.lx, view.ly, 1e-9);
    if (view.u >= 0) return Math.exp(view.u * growth);
    return view.u >= -span ? Math.exp((view.u * log) / span) : Math.exp(-log + view.u + span);
  }
  const kx = () => scale(view.lx, 0.5);
  const ky = () => scale(view.ly, 1);
  const xOf = (item) => across(itemDepth[item]) * kx() + view.tx;
  const yOf = (item) => y[item] * ky() + view.ty;

  function zoomAt(px, py, by) {
    const wx = (px - view.tx) / kx(), wy = (py - view.ty) / ky();
    const least = -Math.max(view.lx, view.ly) - Math.log(20);
    view.u = Math.min(Math.max(view.u + by, least), U_MOST);
    view.tx = px - wx * kx();
    view.ty = py - wy * ky();
    changed();
  }

  const LEFT = 24, RIGHT = LABEL + 70, EDGE = 30; // what is left free around a tree
  const levelsThatFit = () => Math.max(1, 1 + Math.floor((W - LEFT - RIGHT - FIRST) / COLUMN));
  function fit() {
    const left = Math.min(LEFT, W * 0.035), right = Math.min(RIGHT, W * 0.68), edge = EDGE;
    const wide = Math.max(across(deepest), 1), tall = Math.max(bottom - top, 1);
    const sx = Math.min(1, Math.max(W - left - right, 40) / wide), sy = Math.min(1, Math.max(H - 2 * edge, 40) / tall);
    view.lx = -Math.log(sx);
    view.ly = -Math.log(sy);
    view.u = -Math.max(view.lx, view.ly);
    view.tx = left + Math.max(0, (W - left - right - wide * sx) / 2);
    view.ty = (H - (top + bottom) * sy) / 2;
    changed();
  }

  function fitReadably() {
    fit();
    const span = Math.max(view.lx, view.ly);
    let share = 1;
    while (share > 0 && (Math.exp(-view.lx * share) < 0.74 || Math.exp(-view.ly * share) < 0.5)) share -= 0.02;
    if (share >= 1) return;
    view.u = -span * Math.max(share, 0);
    if (across(deepest) * kx() > W - 200) view.tx = 40;
    if ((bottom - top) * ky() > H) view.ty = H / 2;
    changed();
  }

  function bringIntoView(id) {
    const at = position(id);
    if (!at) return;
    const mx = Math.min(70, W / 4), my = Math.min(50, H / 4), room = Math.min(180, W / 3);
    if (at.x < mx) view.tx += mx - at.x;
    if (at.x > W - room) view.tx -= at.x - (W - room);
    if (at.y < my) view.ty += my - at.y;
    if (at.y > H - my) view.ty -= at.y - (H - my);
    changed();
  }

  function position(id) { // in the canvas
    const item = itemOf[id];
    if (item === undefined || item < 0) return null;
    if (!itemRow[item]) return { x: xOf(item), y: yOf(item) };
    return dotAt(item, dotOf[id]);
  }
  function dotAt(item, dot) {
    const lines = Math.ceil(itemRow[item] / DOTS_IN_ROW), line = Math.floor(dot / DOTS_IN_ROW);
    return {
      x: xOf(item) + (dot % DOTS_IN_ROW) * DOT * Math.min(kx(), 1.4),
      y: yOf(item) + (line - (lines - 1) / 2) * DOT_LINE * ky(),
    };
  }

  // -- drawing ------------------------------------------------------------------------------------------------------------

  const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8779", "#a69d75", "#c4b56c", "#e4cf5b", "#fee838"];
  const SHADES = 48;
  const shades = Array.from({ length: SHADES }, (_, i) => {
    const at = (i / (SHADES - 1)) * (CIVIDIS.length - 1), k = Math.min(Math.floor(at), CIVIDIS.length - 2), t = at - k;
    const part = (c, p) => parseInt(c.slice(1 + 2 * p, 3 + 2 * p), 16);
    return `rgb(${[0, 1, 2].map((p) => Math.round(part(CIVIDIS[k], p) * (1 - t) + part(CIVIDIS[k + 1], p) * t)).join(" ")})`;
  });
  const shadeOf = (value) =>
    Math.min(SHADES - 1, Math.max(0, Math.round(((value - LOW) / (HIGH - LOW || 1)) * (SHADES - 1))));

  let ink = {}, pending = false, drawMs = 0, selected = -1, hover = -1;
  const widths = new Map();

  function readInk() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ground", "text", "muted", "edge", "valid", "rejected", "hit", "gold", "accent", "raised", "outline", "way", "line"]) {
      ink[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }
  function changed() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => { pending = false; draw(); });
  }
  function radius(id, s) {
    const share = Math.log1p(visits[id]) / Math.log1p(maxVisits);
    return Math.max((id === 0 ? 9 : 6 + 6 * share) * s, 1.3);
  }
  function shorten(text, room) {
    const key = `${Math.floor(room / 6)} ${context.font} ${text}`;
    let found = widths.get(key);
    if (found === undefined) {
      found = text;
      if (context.measureText(text).width > room) {
        let length = text.length;
        while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > room) length--;
        found = `${text.slice(0, length).trimEnd()}…`;
      }
      found = [found, context.measureText(found).width];
      if (widths.size > 5000) widths.clear();
      widths.set(key, found);
    }
    return found;
  }

  function frameNow() { // what one frame needs again and again
    const sx = kx(), sy = ky(), column = COLUMN * sx, slot = SLOT * sy;
    const s = Math.min(Math.max(sy, 0.05), 1.4);
    return { sx, sy, s, column, slot, labels: column >= 96 && slot >= 15, twoLines: slot >= 27 };
  }

  function draw() {
    const began = performance.now();
    const frame = frameNow();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = ink.ground;
    context.fillRect(0, 0, W, H);
    drawEdges(frame);
    if (frame.s < 0.3) drawSmall(frame);
    else drawItems(frame);
    drawMarks(frame);
    drawMs = performance.now() - began;
  }

  function drawEdges(frame) {
    const kinds = [[], [], [], []]; // the way to the selected node, below the others; plain, valid, rejected
    const way = new Set(selected < 0 ? [] : pathTo(selected));
    for (let item = 1; item < items; item++) {
      const above = itemParent[item];
      const y0 = y[above] * frame.sy + view.ty, y1 = y[item] * frame.sy + view.ty;
      const x1 = across(itemDepth[item]) * frame.sx + view.tx, x0 = across(itemDepth[above]) * frame.sx + view.tx;
      if (x1 < -20 || x0 > W || (y0 < -20 && y1 < -20) || (y0 > H + 20 && y1 > H + 20)) continue;
      const node = itemNode[item];
      const row = itemRow[item] > 0;
      if (!row && way.has(node)) kinds[0].push(x0, x1, y0, y1);
      kinds[row ? 1 : on[node] ? 2 : rejected[node] ? 3 : 1].push(x0, x1, y0, y1);
    }
    const styles = [[ink.way, 9, []], [ink.edge, 1, []], [ink.valid, 3.5, []], [ink.rejected, 1.8, [6, 4]]];
    const turn = turnOf(frame);
    for (const [index, lines] of kinds.entries()) {
      if (!lines.length) continue;
      const [colour, width, dash] = styles[index];
      context.strokeStyle = colour;
      context.lineWidth = Math.max(width * Math.min(1, frame.s * 1.4), [3, 0.5, 1.6, 1.6][index]);
      context.setLineDash(dash);
      context.beginPath();
      for (let i = 0; i < lines.length; i += 4) {
        const x0 = lines[i], x1 = lines[i + 1], y0 = lines[i + 2], y1 = lines[i + 3];
        if (frame.column < 30) {
          context.moveTo(x0, y0);
          context.lineTo(x1, y1);
        } else {
          if (index !== 3) context.moveTo(x0, y0); // a rejected one leaves a valid path's line
          else context.moveTo(x1 - turn, y0);
          context.lineTo(x1 - turn, y0);
          context.bezierCurveTo(x1 - turn / 2, y0, x1 - turn / 2, y1, x1, y1);
        }
      }
      context.stroke();
    }
    context.setLineDash([]);
  }

  const turnOf = (frame) => Math.min(40, frame.column * 0.22); // how wide the bend before a column is

  function onScreen(item, frame) {
    const px = across(itemDepth[item]) * frame.sx + view.tx, py = y[item] * frame.sy + view.ty;
    return px > -frame.column && px < W + 20 && py > -40 && py < H + 40;
  }

  function drawSmall(frame) { // squares by shade: a change of colour costs more than a square
    const buckets = Array.from({ length: SHADES + 1 }, () => []);
    for (let item = 0; item < items; item++) {
      if (itemRow[item] || !onScreen(item, frame)) continue;
      const id = itemNode[item];
      buckets[visits[id] && !closed.has(id) ? shadeOf(q[id]) : SHADES].push(item);
    }
    const halo = document.documentElement.dataset.theme === "dark" ? ink.muted : "";
    for (const [index, bucket] of buckets.entries()) {
      if (!bucket.length) continue;
      for (const [grow, colour] of halo ? [[0.7, halo], [0, shades[index] || ink.ground]] : [[0, shades[index] || ink.edge]]) {
        context.fillStyle = colour;
        for (const item of bucket) {
          const r = radius(itemNode[item], frame.s) + grow;
          context.fillRect(across(itemDepth[item]) * frame.sx + view.tx - r, y[item] * frame.sy + view.ty - r, 2 * r, 2 * r);
        }
      }
    }
  }

  function drawItems(frame) {
    context.lineJoin = "round";
    for (let item = 0; item < items; item++) {
      if (!onScreen(item, frame)) continue;
      if (itemRow[item]) drawRow(item, frame);
      else {
        drawNode(context, itemNode[item], xOf(item), yOf(item), radius(itemNode[item], frame.s), frame.s);
        if (frame.labels) drawLabel(item, frame);
        drawPill(item, frame);
      }
    }
  }

  function shape(target, kind, px, py, r) {
    target.beginPath();
    if (kind === ROOT) target.rect(px - r, py - r, 2 * r, 2 * r);
    else if (kind === END) {
      const d = r * 1.3;
      target.moveTo(px, py - d); target.lineTo(px + d, py); target.lineTo(px, py + d); target.lineTo(px - d, py); target.closePath();
    } else if (kind === UNTRIED) {
      target.moveTo(px - r * 0.8, py - r); target.lineTo(px + r, py); target.lineTo(px - r * 0.8, py + r); target.closePath();
    } else target.arc(px, py, r, 0, 2 * Math.PI);
  }

  function drawNode(target, id, px, py, r, s) {
    const ring = Math.min(3.2 * s, r * 0.45);
    target.fillStyle = ink.ground;
    shape(target, type[id], px, py, r + 1.6 * s);
    target.fill();
    target.fillStyle = closed.has(id) ? ink.line : visits[id] ? shades[shadeOf(q[id])] : ink.ground;
    shape(target, type[id], px, py, r);
    target.fill();
    outlined(target, ring + 1.5 * s);
    target.strokeStyle = id === 0 ? ink.text : closed.has(id) ? ink.outline : data.strategies[strategy[id]][1];
    target.lineWidth = ring;
    if (flag(id, PROBE)) target.setLineDash([ring, ring]);
    target.stroke();
    target.setLineDash([]);
    if (closed.has(id)) cross(target, px, py, r * 0.55, s);
    if (flag(id, GOLD)) star(target, px, py - r - 4 * s, 5.5 * s);
  }

  function outlined(target, width) { // so that every strategy's colour stands out from every ground
    target.strokeStyle = ink.outline;
    target.lineWidth = width;
    target.stroke();
  }

  function cross(target, px, py, r, s) {
    target.beginPath();
    target.moveTo(px - r, py - r); target.lineTo(px + r, py + r);
    target.moveTo(px - r, py + r); target.lineTo(px + r, py - r);
    target.strokeStyle = ink.text;
    target.lineWidth = Math.max(1.6 * s, 0.8);
    target.stroke();
  }

  function star(target, px, py, r) {
    target.beginPath();
    for (let i = 0; i < 10; i++) {
      const angle = (i * Math.PI) / 5 - Math.PI / 2, far = i % 2 ? r * 0.45 : r;
      target.lineTo(px + far * Math.cos(angle), py + far * Math.sin(angle));
    }
    target.closePath();
    target.fillStyle = ink.gold;
    target.strokeStyle = "#5c4700";
    target.lineWidth = 0.9;
    target.fill();
    target.stroke();
  }

  function drawRow(item, frame) {
    const begin = first[itemNode[item]], r = 4.3 * Math.min(frame.s, 1.2);
    for (let kid = begin; kid < begin + K; kid++) {
      if (itemOf[kid] !== item) continue;
      const at = dotAt(item, dotOf[kid]);
      if (closed.has(kid)) { cross(context, at.x, at.y, r * 0.8, frame.s); continue; }
      context.fillStyle = ink.ground;
      shape(context, UNTRIED, at.x, at.y, r);
      context.fill();
      outlined(context, 2.6 * frame.s);
      context.strokeStyle = data.strategies[strategy[kid]][1];
      context.lineWidth = Math.max(1.6 * frame.s, 0.8);
      context.stroke();
    }
  }

  const isFolded = (id) => canOpen(id) && !open[id];
  const pillText = (id) => `+${(showUntried ? below[id] : spokenBelow[id]).toLocaleString("en")}`;

  function labelRoom(item, frame) {
    const id = itemNode[item], last = itemDepth[item] === deepest; // nothing stands beside the last column
    const room = (id === 0 ? FIRST * frame.sx : last ? Math.max(frame.column, RIGHT) : frame.column) - radius(id, frame.s) - 10;
    if (!isFolded(id)) return room - (itemKids[item] && id ? turnOf(frame) : 12);
    context.font = `600 11px ${FONT}`;
    return room - context.measureText(pillText(id)).width - 32;
  }
  function drawLabel(item, frame) {
    const id = itemNode[item], px = xOf(item) + radius(id, frame.s) + 6, py = yOf(item);
    const room = labelRoom(item, frame), bold = on[id] || id === selected;
    const lifted = itemKids[item] > 0 || frame.twoLines;
    context.textBaseline = "alphabetic";
    context.font = `${bold ? "600 " : ""}12px ${FONT}`;
    const [name] = shorten(nameOf(id), room);
    write(name, px, lifted ? py - 4 : py + 4, on[id] ? ink.valid : ink.text);
    if (!frame.twoLines) return;
    context.font = `11px ${FONT}`;
    const value = closed.has(id) ? "closed" : visits[id] ? `${rejected[id] ? "✕ " : ""}Q ${signed(q[id])}` : "not visited";
    const numbers = visits[id] ? `${value}  N ${visits[id]}` : value;
    const shown = shorten(numbers, room)[0] === numbers ? numbers : shorten(value, room)[0];
    write(shown, px, py + 13, rejected[id] ? ink.rejected : ink.muted);
  }
  function write(text, px, py, colour) {
    context.lineWidth = 3;
    context.strokeStyle = ink.ground;
    context.strokeText(text, px, py);
    context.fillStyle = colour;
    context.fillText(text, px, py);
  }

  function pillBox(item, frame) {
    const id = itemNode[item];
    if (!isFolded(id) || frame.s < 0.3) return null;
    const room = frame.labels ? labelRoom(item, frame) : 0;
    context.font = `600 11px ${FONT}`;
    const width = context.measureText(pillText(id)).width + 12;
    let px = xOf(item) + radius(id, frame.s) + 5;
    if (frame.labels) {
      context.font = `${on[id] || id === selected ? "600 " : ""}12px ${FONT}`;
      px += shorten(nameOf(id), room)[1] + 8;
    }
    return { x: px, y: yOf(item) - (frame.labels && frame.twoLines ? 16 : 7), w: width, h: 14 }; // above the numbers
  }
  function drawPill(item, frame) {
    const box = pillBox(item, frame);
    if (!box) return;
    context.beginPath();
    context.roundRect(box.x, box.y, box.w, box.h, 8);
    context.fillStyle = ink.raised;
    context.fill();
    context.strokeStyle = ink.accent;
    context.lineWidth = 1;
    context.stroke();
    context.font = `600 11px ${FONT}`;
    context.fillStyle = ink.accent;
    context.fillText(pillText(itemNode[item]), box.x + 6, box.y + 11);
  }

  function drawMarks(frame) {
    const ringAround = (id, colour, gap, width) => {
      const at = position(id);
      if (!at || at.x < -20 || at.y < -20 || at.x > W + 20 || at.y > H + 20) return;
      const r = type[id] === UNTRIED ? 4.3 * frame.s : radius(id, frame.s) * (type[id] === END ? 1.15 : 1);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.arc(at.x, at.y, Math.max(r + gap, 4), 0, 2 * Math.PI);
      context.stroke();
    };
    for (const id of hits) ringAround(id, ink.hit, 4.5, 2.5);
    if (hover >= 0 && hover !== selected) ringAround(hover, ink.muted, 3.5, 1.5);
    if (selected >= 0) ringAround(selected, ink.accent, 4.5, document.activeElement === canvas ? 3.5 : 2.5);
  }

  // -- pointing -----------------------------------------------------------------------------------------------------------

  function find(px, py) { // {id, pill} under the pointer, or null
    const frame = frameNow();
    let best = null, nearest = 14 * 14;
    for (let item = 0; item < items; item++) {
      if (!onScreen(item, frame)) continue;
      const dy = yOf(item) - py;
      if (Math.abs(dy) > 40) continue;
      if (itemRow[item]) {
        const begin = first[itemNode[item]];
        for (let kid = begin; kid < begin + K; kid++) {
          if (itemOf[kid] !== item) continue;
          const at = dotAt(item, dotOf[kid]), d = (at.x - px) ** 2 + (at.y - py) ** 2;
          if (d < Math.min(nearest, 81)) { nearest = d; best = { id: kid, pill: false }; }
        }
        continue;
      }
      const box = pillBox(item, frame);
      if (box && px >= box.x && px <= box.x + box.w && py >= box.y && py <= box.y + box.h) return { id: itemNode[item], pill: true };
      const d = (xOf(item) - px) ** 2 + dy * dy, reach = Math.max(radius(itemNode[item], frame.s) + 4, 7);
      if (d < Math.min(nearest, reach * reach)) { nearest = d; best = { id: itemNode[item], pill: false }; }
      else if (!best && frame.labels && Math.abs(dy) < Math.min(frame.slot / 2, 15)) {
        const from = xOf(item) + radius(itemNode[item], frame.s);
        if (px >= from && px <= from + Math.min(labelRoom(item, frame), 150)) best = { id: itemNode[item], pill: false };
      }
    }
    return best;
  }

  const pointers = new Map();
  let moved = false, pinch = 0;

  function within(event) {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, within(event));
    moved = pointers.size > 1;
    pinch = 0;
    hideTip();
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = within(event), before = pointers.get(event.pointerId);
    if (!before) { point(at); return; }
    if (!moved && Math.hypot(at.x - before.x, at.y - before.y) < 4) return;
    moved = true;
    canvas.classList.add("dragging");
    pointers.set(event.pointerId, at);
    if (pointers.size === 1) {
      view.tx += at.x - before.x;
      view.ty += at.y - before.y;
      changed();
    } else pinchWith([...pointers.values()]);
  });
  function pinchWith([a, b]) {
    const distance = Math.hypot(a.x - b.x, a.y - b.y);
    if (pinch) zoomAt((a.x + b.x) / 2, (a.y + b.y) / 2, Math.log(distance / pinch));
    pinch = distance;
  }
  function release(event) {
    const at = pointers.get(event.pointerId);
    if (!pointers.delete(event.pointerId)) return;
    pinch = 0;
    if (!pointers.size) canvas.classList.remove("dragging");
    if (moved || event.type === "pointercancel") return;
    const found = find(at.x, at.y);
    if (!found) return;
    if (found.pill) toggle(found.id);
    else select(found.id, false);
  }
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("dblclick", (event) => {
    const at = within(event), found = find(at.x, at.y);
    if (found && !found.pill) toggle(found.id);
  });
  canvas.addEventListener("pointerleave", () => { hover = -1; hideTip(); changed(); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const at = within(event), unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? H : 1;
    const by = Math.min(Math.max(event.deltaY * unit, -240), 240);
    zoomAt(at.x, at.y, -by * (event.ctrlKey ? 0.01 : 0.002));
    hideTip();
  }, { passive: false });
  canvas.addEventListener("focus", changed);
  canvas.addEventListener("blur", changed);

  const tip = $("tip");
  function hideTip() { tip.hidden = true; }
  function point(at) {
    const found = find(at.x, at.y), id = found ? found.id : -1;
    canvas.classList.toggle("over", id >= 0);
    if (id !== hover) { hover = id; changed(); }
    if (id < 0) { hideTip(); return; }
    const words = found.pill ? ["Click to expand"] : wordsOf(id);
    tip.replaceChildren(el("b", {}, nameOf(id)), el("i", {}, numbersOf(id)), ...words.map((text) => el("p", { dir: "auto" }, clipped(text))));
    tip.hidden = false;
    const wide = tip.offsetWidth, tall = tip.offsetHeight;
    tip.style.left = `${Math.max(4, Math.min(at.x + 16, W - wide - 6))}px`;
    tip.style.top = `${at.y + 20 + tall > H ? Math.max(4, at.y - tall - 14) : at.y + 20}px`;
  }
  const clipped = (text) => (text.length > 240 ? `${text.slice(0, 240).replace(/\s\S*$/, "")} …` : text);
  function wordsOf(id) { // of the node's turn and the reply to it
    if (id === 0) return [data.turns[data.turns.length - 1][1]];
    const words = closed.has(id) ? [closedText(id)] : type[id] === UNTRIED ? ["This strategy was not tried here."] : [];
    if (type[id] !== UNTRIED) words.push(`${SPEAKERS[1]}: ${said(id)}`);
    if (type[id] === EXPANDED) words.push(`${SPEAKERS[0]}: ${replied(id)}`);
    return words;
  }
  const closedText = (id) => `Refused for good, so the branch is closed: ${closed.get(id)}.`;
  const typeName = (id) => (closed.has(id) ? (type[id] === UNTRIED ? "closed" : `${TYPE_NAMES[type[id]]}, closed`) : TYPE_NAMES[type[id]]);
  function numbersOf(id) {
    const own = visits[id] ? `Q ${signed(q[id])}, N ${visits[id]}` : typeName(id);
    const [mean, deviation] = posteriors.get(id) || [];
    const turn = mean === undefined ? "" : `, turn ${signed(mean)} ± ${deviation.toFixed(2)}`;
    return id === 0 ? own : `${own}${turn}, P ${prior(id).toFixed(3)}`;
  }

  // -- folding and selecting ----------------------------------------------------------------------------------------------

  function relayout(anchor = 0) { // the anchor stays where it is in the window
    const before = position(anchor);
    layout();
    const after = position(anchor);
    if (before && after) { view.tx += before.x - after.x; view.ty += before.y - after.y; }
    describe();
    changed();
  }
  function toggle(id, whole = false) {
    if (!canOpen(id)) { announce(`${nameOf(id)} has nothing to expand`); return; }
    const opening = !open[id] || whole;
    if (whole) setBelow(id, 1);
    open[id] = opening ? 1 : 0;
    if (!opening && selected >= 0 && isBelow(selected, id)) select(id, false);
    relayout(id);
    announce(`${nameOf(id)} ${opening ? "expanded" : "collapsed"}`);
    if (selected === id) showPanel(false);
  }
  function setBelow(id, value) {
    const stack = [id];
    while (stack.length) {
      const at = stack.pop();
      if (!first[at]) continue;
      open[at] = value;
      for (let kid = first[at]; kid < first[at] + K; kid++) if (first[kid]) stack.push(kid);
    }
  }
  function isBelow(id, above) {
    for (let at = parent[id]; at >= 0; at = parent[at]) if (at === above) return true;
    return false;
  }
  function setAll(value) {
    for (let id = 0; id < N; id++) open[id] = first[id] && (value || id === 0) ? 1 : 0;
    if (!value && selected >= 0 && itemOf[selected] >= 0 && depth[selected] > 1) select(-1, false);
    layout();
    describe();
    fit();
    announce(value ? "All expanded" : "All collapsed");
  }

  function select(id, into = true) {
    if (id >= 0 && itemOf[id] < 0) { reveal(id); relayout(selected >= 0 ? selected : 0); }
    selected = id;
    if (id >= 0 && into) bringIntoView(id);
    showAddress();
    showPanel(true);
    if (id >= 0) announce(spoken(id));
    changed();
  }
  // The address ends in #12 while node 12 is selected, so that it can be sent to others.
  function showAddress() {
    const wanted = selected < 0 ? "" : `#${selected}`;
    if (location.protocol === "about:" || location.hash === wanted || !sized) return;  // the frame of a notebook has no address
    history.replaceState(null, "", wanted || location.pathname + location.search);
  }
  function followAddress() {
    const found = /^#(\d+)$/.exec(location.hash);
    if (found && +found[1] < N && +found[1] !== selected) select(+found[1]);
  }
  window.addEventListener("hashchange", followAddress);
  function spoken(id) {
    const where = id === 0 ? `${count(below[0] + 1, "node")} in the tree` :
      `depth ${depth[id]}, option ${strategy[id] + 1} of ${K}`;
    const verdict = on[id] ? ", on a valid path" : rejected[id] ? ", rejected" : "";
    const fold = canOpen(id) ? (open[id] ? ", expanded" : ", collapsed") : "";
    return `Node ${id}, ${nameOf(id)}, ${typeName(id)}${flag(id, GOLD) ? ", gold" : ""}, ${numbersOf(id)}, ${where}${verdict}${fold}`;
  }
  function announce(text) { $("live").textContent = text; }
  function describe() {
    $("description").textContent =
      `A tree of ${count(N, "node")}, ${visible.toLocaleString("en")} of them shown. ` +
      "Arrow keys move to parent, child and siblings, Enter expands or collapses, question mark shows all keys.";
  }

  function neighbour(id, key) {
    if (id < 0) return 0;
    if (key === "ArrowLeft") return parent[id];
    if (key === "ArrowRight") {
      if (!canOpen(id)) return -1;
      if (!open[id]) { toggle(id); return id; }
      return nodesInOrder(id)[0];
    }
    if (id === 0) return -1;
    const family = nodesInOrder(parent[id]);
    const next = family[family.indexOf(id) + (key === "ArrowDown" ? 1 : -1)];
    return next === undefined ? -1 : next;
  }
  function nodesInOrder(id) { // as they are drawn: what was said first, then what was not tried
    const kids = kidsOf(id), tried = kids.filter((kid) => type[kid] !== UNTRIED);
    return [...tried, ...kids.filter(isDot)];
  }

  // -- panel --------------------------------------------------------------------------------------------------------------

  const panel = $("panel");
  const MOST_TURNS = 60, MOST_LISTED = 100;

  function el(tag, properties, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key === "class") made.className = value;
      else if (key === "style") for (const [name, each] of Object.entries(value)) made.style.setProperty(name, each);
      else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== ""));
    return made;
  }
  function button(text, action, properties = {}) {
    return el("button", { type: "button", class: "small", onclick: action, ...properties }, text);
  }
  function chip(which) { // an index of the set, or the name of a strategy that is not in it
    const [name, colour, over, about] = typeof which === "number" ? data.strategies[which] : [which, "#9aa0a6", "#000000", ""];
    return el("span", { class: "chip", style: { background: colour, color: over }, title: about || null }, name);
  }
  function marked(text) { // a fragment: text, what the search found marked
    const fragment = document.createDocumentFragment(), low = text.toLowerCase();
    if (!query || low.length !== text.length) { fragment.append(text); return fragment; }
    let from = 0;
    for (let at = low.indexOf(query); at >= 0; at = low.indexOf(query, from)) {
      fragment.append(text.slice(from, at), el("mark", {}, text.slice(at, at + query.length)));
      from = at + query.length;
    }
    fragment.append(text.slice(from));
    return fragment;
  }
  function scores(values) {
    return el("dl", { class: "scores", "aria-label": `The judge's scores, 0 to ${data.maxScore}` },
      ...values.map((value, i) => el("div", {}, el("dt", {}, data.criteria[i]), el("dd", {}, `${plain(value)}/${data.maxScore}`))));
  }
  function metric(name, value, title) { return el("div", { title }, el("dt", {}, name), el("dd", {}, value)); }

  function showPanel(scroll) {
    panel.setAttribute("aria-label", selected < 0 ? "Overview" : `Node ${selected}`);
    const kept = panel.scrollTop;
    panel.replaceChildren(...(selected < 0 ? overview() : nodePanel(selected)));
    if (!scroll) { panel.scrollTop = kept; return; }
    const current = panel.querySelector(".turn.current"), head = panel.querySelector(".panel-head");
    panel.scrollTop = current && head ? Math.max(0, current.offsetTop - head.offsetHeight - 150) : 0;
  }

  function overview() {
    const ends = data.spoken.filter((id) => type[id] === END).length, best = bestPath();
    const rows = [
      ["Nodes", N], ["Expanded", SPOKEN - ends], ["Ends of dialogue", ends], ["Not tried", untried],
      ["Iterations", data.iterations], ["Visits of the root", visits[0]],
    ].map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value.toLocaleString("en"))));
    if (closed.size) rows.push(el("tr", {}, el("th", { scope: "row" }, "Closed"), el("td", {}, closed.size.toLocaleString("en"))));
    if (data.stopped) rows.push(el("tr", {}, el("th", { scope: "row" }, "Search"), el("td", {}, data.stopped)));
    return [
      el("div", { class: "panel-head" }, el("h2", {}, "Overview")),
      ...data.warnings.map((text) => el("p", { class: "warning", role: "note" }, el("b", {}, "Warning: "), text)),
      data.description ? el("p", {}, data.description) : "",
      el("table", { class: "counts-table" }, el("tbody", {}, ...rows)),
      best ? el("h3", {}, "Best path") : "",
      best ? el("div", { class: "list" }, endButton(best[0])) : "",
      el("h3", {}, verdictText()),
      ...validLists(),
      ...closedList(),
      validEnds.length ? "" : el("p", { class: "facts" }, whyNone(ends)),
    ];
  }
  function whyNone(ends) {
    if (!ends) return "No path has reached an end yet.";
    if (settings.pathRule === "all" && q[0] < settings.theta) return `The root's Q, ${signed(q[0])}, is below θ.`;
    return "No path to an end keeps θ and the least number of visits. Move the slider to see which paths would.";
  }
  const more = (all) => (all > MOST_LISTED ? el("p", { class: "facts" }, `… and ${(all - MOST_LISTED).toLocaleString("en")} more`) : "");
  function validLists() {
    const ends = validEnds.slice(0, MOST_LISTED), pairs = listPairs(MOST_LISTED);
    return [
      el("div", { class: "list" }, ...ends.map(endButton)), more(validEnds.length),
      pairs.length ? el("h3", {}, "Pairs: chosen over rejected") : "",
      el("div", { class: "list" }, ...pairs.slice(0, MOST_LISTED).map(pairButton)), more(pairCount),
    ];
  }
  function closedList() {
    if (!closed.size) return [];
    return [el("h3", {}, "Closed: refused by a model or its provider"), el("div", { class: "list" },
      ...[...closed].slice(0, MOST_LISTED).map(([id, reason]) => {
        const made = button("", () => select(id), { class: "", "aria-label": `Closed node ${id}, ${reason}` });
        made.append(el("span", { class: "row" }, id ? chip(strategy[id]) : "Start", el("span", { class: "facts" }, `#${id}, ${reason}`)));
        return made;
      })), more(closed.size)];
  }
  function endButton(id) {
    const path = pathTo(id).slice(1), mean = pathSums[id] / path.length;
    const made = button("", () => select(id), { class: "", "aria-label": `Path to node ${id}, mean Q ${signed(mean)}` });
    const facts = `#${id}, ${count(path.length, "turn")}, mean Q ${signed(mean)}, N ${visits[id]}${flag(id, GOLD) ? ", gold" : ""}`;
    made.append(el("span", { class: "row" }, chip(strategy[id]), el("span", { class: "facts" }, facts)));
    return made;
  }
  function pairButton([chosen, other]) {
    const made = button("", () => select(chosen), { class: "", "aria-label": `Pair: node ${chosen} over node ${other}` });
    for (const [mark, id] of [["✓", chosen], ["✕", other]]) {
      made.append(el("span", { class: "row" }, mark, chip(strategy[id]), el("span", { class: "facts" }, `#${id}, ${numbersOf(id)}`)));
    }
    return made;
  }

  function nodePanel(id) {
    const head = el("div", { class: "row" }, id === 0 ? el("h2", {}, "Start") : chip(strategy[id]),
      id && type[id] === UNTRIED && closed.has(id) ? "" : el("span", { class: "tag" }, TYPE_NAMES[type[id]]), ...tags(id), el("span", { class: "facts" }, `#${id}`));
    const actions = el("div", { class: "row" },
      canOpen(id) ? button(open[id] ? "Collapse" : `Expand (${pillText(id)})`, () => toggle(id)) : "",
      canOpen(id) ? button("Expand subtree", () => toggle(id, true)) : "",
      button("Centre", () => centre(id)), button("Overview", () => select(-1)));
    return [
      el("div", { class: "panel-head" }, head, figures(id), actions),
      ...conversation(id),
      ...simulation(id),
      ...callsOf(id),
    ];
  }
  function tags(id) {
    const made = [];
    if (flag(id, GOLD)) made.push(el("span", { class: "tag" }, "★ gold"));
    if (flag(id, PROBE)) made.push(el("span", { class: "tag", title: "Generated and simulated apart from the search" }, "probe"));
    if (closed.has(id)) made.push(el("span", { class: "tag", title: "Worth nothing to the search, and in no pair" }, `✕ closed: ${closed.get(id)}`));
    if (on[id]) made.push(el("span", { class: "tag good" }, "✓ valid path"));
    if (rejected[id]) made.push(el("span", { class: "tag bad" }, "✕ rejected"));
    return made;
  }
  function figures(id) {
    const value = visits[id] ? signed(q[id]) : "–", raw = id === 0 ? null : score(id);
    return el("dl", { class: "metrics" },
      metric("Q", value, `Mean reward, ${plain(LOW)} to ${plain(HIGH)}`), metric("N", visits[id].toLocaleString("en"), "Visits"),
      metric("P", id === 0 ? "–" : prior(id).toFixed(3), "Prior: softmax of the strategist's scores"),
      metric("Score", raw === null || raw === undefined ? "–" : plain(raw), "The strategist's score, 0 to 10"),
      ...turnFigures(id));
  }
  function turnFigures(id) {
    if (!posteriors.has(id)) return [];
    const [mean, deviation] = posteriors.get(id), rollout = rollouts.get(id);
    const judged = rollout ? [metric("Judged", signed(rollout[1]), "The judge's reward of this turn alone, as it is")] : [];
    return [metric("Believed", `${signed(mean)}\u00a0±\u00a0${deviation.toFixed(2)}`, "What the search believes of this turn's reward"), ...judged];
  }
  function centre(id) {
    const at = position(id);
    if (!at) return;
    view.tx += W / 2 - at.x;
    view.ty += H / 2 - at.y;
    changed();
  }

  function turn(side, head, text, properties = {}) {
    const { colour, extra = [], current = false, label = "" } = properties;
    const bubble = el("div", { class: "bubble", dir: "auto", style: colour ? { "border-left-color": colour } : {} }, marked(text));
    return el("div", { class: `turn ${side}${current ? " current" : ""}` }, el("div", { class: "who row" }, label, ...head), bubble, ...extra);
  }
  function conversation(id) {
    const path = pathTo(id).slice(1), box = el("div", {});
    let from = Math.max(0, path.length - MOST_TURNS);
    const opening = () => data.turns.map(([side, text, name]) => turn(side ? "supporter" : "seeker",
      name === null ? [] : [chip(name)], text, { label: SPEAKERS[side] }));
    const earlier = button("", () => {
      const stop = from;
      from = Math.max(0, from - MOST_TURNS);
      earlier.after(...(from ? [] : opening()), ...path.slice(from, stop).map((each) => turnsOf(each, id)));
      if (from) tell(); else earlier.remove();
    });
    const tell = () => { earlier.textContent = `Show earlier turns (${from.toLocaleString("en")} more)`; };
    if (from) { tell(); box.append(earlier); } else box.append(...opening());
    box.append(...path.slice(from).map((each) => turnsOf(each, id)));
    return [el("h3", {}, "Conversation"), box];
  }
  function turnsOf(id, current) { // the supporter's turn of a node, its siblings, and the seeker's answer
    const made = document.createDocumentFragment(), colour = data.strategies[strategy[id]][1];
    if (type[id] === UNTRIED) {
      made.append(el("div", { class: "turn supporter current" }, el("div", { class: "who row" }, SPEAKERS[1], chip(strategy[id])),
        el("p", { class: "facts" }, closed.has(id) ? closedText(id) : "This strategy was not tried here: there is no text, Q or N."), siblings(id, true)));
      return made;
    }
    const rollout = rollouts.get(id);
    const head = [chip(strategy[id]), el("span", { class: "facts" }, numbersOf(id)),
      flag(id, GOLD) ? el("span", { class: "tag" }, "★ gold") : "", id === current ? "" : button("→", () => select(id), { class: "small go", title: "Go to this node", "aria-label": `Go to node ${id}` })];
    const extra = [rollout && rollout[3].length ? scores(rollout[3][0]) : "", siblings(id, id === current)];
    made.append(turn("supporter", head, said(id), { colour, extra, current: id === current, label: SPEAKERS[1] }));
    if (type[id] === EXPANDED) made.append(turn("seeker", [], replied(id), { label: SPEAKERS[0] }));
    else made.append(el("p", { class: "facts" }, "The dialogue ends here."));
    if (closed.has(id)) made.append(el("p", { class: "facts" }, closedText(id)));
    return made;
  }

  function siblings(id, opened) {
    const others = kidsOf(parent[id]).filter((each) => each !== id);
    if (!others.length) return "";
    const tried = others.filter((each) => type[each] !== UNTRIED).sort((a, b) => rejected[b] - rejected[a] || q[b] - q[a]);
    const losers = others.filter((each) => rejected[each]).length;
    const title = tried.length ? `${count(tried.length, "other turn")} tried${losers ? `, ${losers} rejected` : ""}` : "Nothing else tried";
    const box = el("details", {}, el("summary", {}, title));
    const fill = () => {
      if (box.childElementCount > 1 || !box.open) return;
      box.append(el("div", { class: "cards" }, ...tried.map(card)), untriedRow(others.filter((each) => type[each] === UNTRIED)));
    };
    box.addEventListener("toggle", fill);
    if (opened) { box.open = true; fill(); }
    return box;
  }
  function card(id) {
    const text = el("div", { class: "text short", dir: "auto" }, marked(said(id)));
    const more = said(id).length > 170 ? button("More", () => {
      more.textContent = text.classList.toggle("short") ? "More" : "Less";
    }) : "";
    return el("div", { class: "card", style: { "border-top-color": data.strategies[strategy[id]][1] } },
      el("div", { class: "row" }, chip(strategy[id]), ...tags(id)),
      el("div", { class: "facts" }, numbersOf(id)), text,
      el("div", { class: "row" }, button("Go", () => select(id), { "aria-label": `Go to node ${id}` }), more));
  }
  function untriedRow(ids) {
    if (!ids.length) return "";
    return el("div", { class: "untried" }, el("span", { class: "facts" }, "Not tried, by prior:"),
      el("div", { class: "row" }, ...ids.sort((a, b) => prior(b) - prior(a)).map((id) => el("button",
        { type: "button", style: { "border-color": data.strategies[strategy[id]][1] }, onclick: () => select(id) },
        `${closed.has(id) ? "✕ " : ""}${nameOf(id)} ${prior(id).toFixed(2)}`))));
  }

  const calls = new Map(data.calls || []);
  function callsOf(id) { // what the models were asked for this node and what they wrote, where the page has it
    if (!calls.has(id)) return [];
    const box = el("div", {});
    for (const call of calls.get(id)) {
      const facts = [call.model, `${call.read.toLocaleString("en")} tokens read`, `${call.written.toLocaleString("en")} written`,
        call.thinking ? `${call.thinking.toLocaleString("en")} of them thinking` : "", `${call.seconds.toFixed(2)} s`].filter(Boolean).join(", ");
      box.append(el("div", { class: "call" }, el("b", {}, call.role), el("span", { class: "facts" }, facts),
        call.thoughts ? el("details", {}, el("summary", {}, "Thoughts"), el("pre", { dir: "auto" }, call.thoughts)) : "",
        el("details", {}, el("summary", {}, "Prompt"), ...call.prompt.map((at) => el("div", {}, el("span", { class: "facts" }, data.messages[at][0]), el("pre", { dir: "auto" }, data.messages[at][1])))),
        el("pre", { dir: "auto" }, call.reply)));
    }
    return [el("h3", {}, `Model calls behind this node (${calls.get(id).length})`), box];
  }

  function simulation(id) {
    const rollout = rollouts.get(id);
    if (!rollout) return [];
    const [, reward, steps, judged] = rollout, box = el("div", { class: "simulation" },
      el("h3", {}, steps.length ? "Simulated continuation, not part of the tree" : "Judged as it stands, nothing simulated"),
      el("p", { class: "facts" }, `Mean reward of ${count(judged.length, "judged turn")}: ${signed(reward)}`));
    steps.forEach(([which, supporter, seeker], i) => {
      const colour = typeof which === "number" ? data.strategies[which][1] : undefined;
      box.append(turn("supporter", [chip(which)], supporter,
        { colour, label: SPEAKERS[1], extra: judged[i + 1] ? [scores(judged[i + 1])] : [] }));
      box.append(seeker === null ? el("p", { class: "facts" }, "The seeker ended the simulated dialogue.") :
        turn("seeker", [], seeker, { label: SPEAKERS[0] }));
    });
    return [box];
  }

  // -- search -------------------------------------------------------------------------------------------------------------

  let query = "", hits = [], hit = -1, texts = null, timer = 0;

  function prepare() {
    const spokenTexts = new Map(data.spoken.map((id, i) => {
      const rollout = rollouts.get(id), steps = rollout ? rollout[2].flat().filter((each) => typeof each === "string") : [];
      return [id, [nameOf(id), data.say[i], data.reply[i] || "", ...steps].join("\n").toLowerCase()];
    }));
    for (const [id, reason] of closed) spokenTexts.set(id, `${spokenTexts.get(id) || nameOf(id).toLowerCase()}\nclosed: ${reason.toLowerCase()}`);
    const start = closed.has(0) ? `closed: ${closed.get(0)}` : "";
    spokenTexts.set(0, [data.scene, start, ...data.turns.flat().filter((each) => typeof each === "string")].join("\n").toLowerCase());
    return spokenTexts;
  }
  function search(text) {
    query = text.trim().toLowerCase();
    hits = [];
    hit = -1;
    if (query) {
      texts = texts || prepare();
      const number = /^#(\d+)$/.exec(query);
      const names = data.strategies.map((each) => each[0].toLowerCase().includes(query));
      const found = (id) => (texts.has(id) ? texts.get(id).includes(query) : showUntried && names[strategy[id]]);
      if (number) hits = +number[1] < N ? [+number[1]] : [];
      else hits = depthFirst().filter(found);
    }
    tellHits();
    if (selected >= 0) showPanel(false);
    changed();
  }
  function depthFirst() {
    const order = [], stack = [0];
    while (stack.length) {
      const id = stack.pop();
      order.push(id);
      if (first[id]) for (let kid = first[id] + K - 1; kid >= first[id]; kid--) stack.push(kid);
    }
    return order;
  }
  function tellHits() {
    const none = query && !hits.length;
    $("search-count").textContent = !query ? "" : none ? "no hit" : hit < 0 ? count(hits.length, "hit") : `${hit + 1} of ${hits.length.toLocaleString("en")}`;
    $("search-next").disabled = $("search-previous").disabled = !hits.length;
  }
  function step(by) {
    if (!hits.length) return;
    hit = hit < 0 ? (by > 0 ? 0 : hits.length - 1) : (hit + by + hits.length) % hits.length;
    tellHits();
    select(hits[hit]);
  }
  function searchNow() { clearTimeout(timer); timer = 0; if ($("search").value.trim().toLowerCase() !== query) search($("search").value); }

  // -- controls -----------------------------------------------------------------------------------------------------------

  function verdictText() { return `${count(validEnds.length, "valid path")}, ${count(pairCount, "pair")}`; }
  function apply(changes) {
    Object.assign(settings, changes);
    judge();
    $("counts").textContent = verdictText();
    showPanel(false);
    changed();
  }
  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    $("theme").textContent = name === "dark" ? "Light" : "Dark";
    $("theme").title = name === "dark" ? "Light colours" : "Dark colours";
    readInk();
    drawLegend();
    changed();
  }
  function setPanel(shown) {
    panel.hidden = !shown;
    $("panel-toggle").setAttribute("aria-expanded", String(shown));
  }

  function bind() {
    const slider = $("theta-slider"), number = $("theta"), least = $("min-visits"), rule = $("path-rule");
    const span = Math.min(Math.max(HIGH - LOW, 1e-9), 1e9), stepSize = 10 ** Math.round(Math.log10(span / 80));
    slider.min = number.min = LOW;
    slider.max = number.max = HIGH;
    number.step = stepSize;
    slider.value = settings.theta;
    number.value = +settings.theta.toFixed(6);
    least.value = settings.minVisits;
    rule.value = settings.pathRule;
    if (believed) {
      for (const each of [slider, number, least, rule]) {
        each.disabled = true;
        each.title = `This search believes something of every turn: its ${data.maxPaths} best whole paths are valid.`;
      }
    }
    slider.addEventListener("input", () => {
      const theta = +(Math.round(slider.value / stepSize) * stepSize).toFixed(6);
      number.value = theta;
      apply({ theta });
    });
    slider.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 5, PageDown: -5 }[event.key];
      if (!by) return;
      event.preventDefault();
      number.value = slider.value = Math.min(HIGH, Math.max(LOW, +(settings.theta + by * stepSize).toFixed(6)));
      apply({ theta: +number.value });
    });
    number.addEventListener("input", () => {
      if (number.value === "" || !Number.isFinite(+number.value)) return;
      slider.value = number.value;
      apply({ theta: +number.value });
    });
    least.addEventListener("input", () => { if (least.value !== "" && +least.value >= 0) apply({ minVisits: +least.value }); });
    rule.addEventListener("change", () => apply({ pathRule: rule.value }));
    $("counts").addEventListener("click", () => { setPanel(true); select(-1); });
    $("unexpanded").addEventListener("change", () => {
      showUntried = $("unexpanded").checked;
      if (!showUntried && selected >= 0 && type[selected] === UNTRIED && !closed.has(selected)) select(parent[selected], false);
      relayout(selected >= 0 ? selected : 0);
      if (query) search(query);
    });
    $("expand-all").addEventListener("click", () => setAll(1));
    $("collapse-all").addEventListener("click", () => setAll(0));
    $("panel-toggle").addEventListener("click", () => setPanel(panel.hidden));
    $("zoom-in").addEventListener("click", () => zoomAt(W / 2, H / 2, 0.35));
    $("zoom-out").addEventListener("click", () => zoomAt(W / 2, H / 2, -0.35));
    $("zoom-fit").addEventListener("click", fit);
    $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
    $("help-open").addEventListener("click", () => $("help").showModal());
    $("help-close").addEventListener("click", () => $("help").close());
    $("search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(searchNow, 80); });
    $("search").addEventListener("search", searchNow);
    $("search-next").addEventListener("click", () => step(1));
    $("search-previous").addEventListener("click", () => step(-1));
    $("search").addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); searchNow(); step(event.shiftKey ? -1 : 1); }
      if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); $("search").value = ""; searchNow(); canvas.focus(); }
    });
    document.addEventListener("keydown", keys);
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const writing = event.target.closest("input, select, textarea");
    if (event.key === "/" && !writing) { event.preventDefault(); $("search").focus(); $("search").select(); return; }
    if (event.key === "?" && !writing) { event.preventDefault(); $("help").showModal(); return; }
    if (event.key === "Escape") { if (writing) canvas.focus(); else if (selected >= 0) select(-1); return; }
    if (writing) return;
    const general = {
      "+": () => zoomAt(W / 2, H / 2, 0.35), "=": () => zoomAt(W / 2, H / 2, 0.35), "-": () => zoomAt(W / 2, H / 2, -0.35), 0: fit,
      e: () => setAll(1), c: () => setAll(0), p: () => setPanel(panel.hidden), u: () => $("unexpanded").click(),
      n: () => step(1), N: () => step(-1),
    }[event.key];
    if (general) { event.preventDefault(); general(); return; }
    if (event.target !== canvas && event.target !== document.body) return;
    if (event.key.startsWith("Arrow") || event.key === "Home") {
      event.preventDefault();
      const next = event.key === "Home" ? 0 : neighbour(selected, event.key);
      if (next >= 0) select(next);
    } else if ((event.key === "Enter" || event.key === " ") && selected >= 0) {
      event.preventDefault();
      toggle(selected, event.shiftKey);
    }
  }

  function fillHelp() {
    const rows = [
      [["←", "→"], "to the parent, to the first child (expands)"], [["↑", "↓"], "to the sibling above or below"],
      [["Home"], "to the root"], [["Enter"], "expand or collapse; with Shift the whole subtree"],
      [["+", "−", "0"], "zoom in, zoom out, fit to the window"], [["/"], "search; Enter and Shift+Enter go through the hits"],
      [["n", "N"], "next hit, previous hit"], [["e", "c"], "expand all, collapse all"],
      [["u"], "show or hide strategies that were not tried"], [["p"], "show or hide the panel"],
      [["Esc"], "leave a field, or the selected node"], [["?"], "this help"],
    ];
    const keyed = ([names, text]) => el("tr", {}, el("th", { scope: "row" }, ...names.flatMap((name) => [el("kbd", {}, name), " "])), el("td", {}, text));
    $("help-body").append(
      el("table", {}, el("tbody", {}, ...rows.map(keyed))),
      el("p", {}, "Drag to pan, turn the wheel or pinch to zoom. Click a node for its conversation, double-click it or click its +number to expand."),
      el("p", {}, "A path is valid if its end has at least the given N and every node on it, the root included, has Q ≥ θ (or the end alone). " +
        "A pair is a turn on a valid path over a sibling on none, with Q < θ and at least one visit. " +
        "“#12” searches for node 12; strategies that were not tried are searched while they are shown."));
  }

  function drawLegend() {
    const picture = (wide, high, paint) => {
      const made = el("canvas", { "aria-hidden": "true" }), target = made.getContext("2d");
      made.width = wide * ratio;
      made.height = high * ratio;
      made.style.width = `${wide}px`;
      made.style.height = `${high}px`;
      target.scale(ratio, ratio);
      paint(target);
      return made;
    };
    const sample = (kind, r, fill, ring = ink.text) => picture(Math.max(20, 2 * r + 4), 26, (target) => {
      target.fillStyle = fill;
      shape(target, kind, Math.max(10, r + 2), 13, r);
      target.fill();
      if (ring !== ink.text) outlined(target, 4);
      target.strokeStyle = ring;
      target.lineWidth = 2.5;
      target.stroke();
    });
    const line = (colour, width, dash) => picture(30, 14, (target) => {
      target.strokeStyle = colour;
      target.lineWidth = width;
      target.setLineDash(dash);
      target.beginPath(); target.moveTo(1, 7); target.lineTo(29, 7); target.stroke();
    });
    const entry = (drawn, text) => el("span", {}, drawn, text);
    const group = (title, ...entries) => el("div", { class: "legend-group" }, el("h3", {}, title), ...entries);
    const wide = 150, middle = plain((LOW + HIGH) / 2).replace("-", "−");
    const bar = picture(wide, 12, (target) => shades.forEach((shade, i) => {
      target.fillStyle = shade;
      target.fillRect((i * wide) / SHADES, 0, wide / SHADES + 1, 12);
    }));
    const [low, high] = [LOW, HIGH].map((each) => plain(each).replace("-", "−"));
    const sizes = [...new Set([1, Math.round(Math.sqrt(maxVisits)), maxVisits])];
    const shade = shades[Math.floor(SHADES * 0.7)];
    $("legend-body").replaceChildren(
      el("div", { class: "legend-row" },
        group("Fill: Q", el("span", { title: `The middle is ${middle}` }, low, bar, high), entry(sample(EXPANDED, 7, ink.ground), "never visited")),
        group("Size: N", ...sizes.map((n) =>
          entry(sample(EXPANDED, 6 + (6 * Math.log1p(n)) / Math.log1p(maxVisits), shade), n.toLocaleString("en")))),
        group("Lines", entry(line(ink.valid, 3.5, []), "valid path"), entry(line(ink.rejected, 2, [6, 4]), "rejected"))),
      group("Shape", entry(sample(ROOT, 7, shade), "start"), entry(sample(EXPANDED, 7, shade), "expanded"),
        entry(sample(END, 7, shade), "end of dialogue"), entry(sample(UNTRIED, 5, ink.ground), "not tried"),
        entry(picture(20, 20, (target) => star(target, 10, 10, 7)), "gold turn"),
        closed.size ? entry(picture(20, 20, (target) => cross(target, 10, 10, 5, 1)), "closed: refused") : ""),
      group("Ring: strategy", ...data.strategies.map(([name, colour]) => entry(sample(EXPANDED, 6, ink.ground, colour), name))));
  }

  // -- start --------------------------------------------------------------------------------------------------------------

  let ready = false, readyMs = 0, sized = false;

  function resize() {
    const box = canvas.parentElement.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const anchor = sized && selected >= 0 ? selected : -1;
    ratio = window.devicePixelRatio || 1;
    W = box.width;
    H = box.height;
    canvas.width = Math.round(W * ratio);
    canvas.height = Math.round(H * ratio);
    if (!sized) begin();
    else if (anchor >= 0) bringIntoView(anchor);
    draw();
  }
  function begin() { // when the size of the window is known
    sized = true;
    openInitially((H - 2 * EDGE) * 1.25, levelsThatFit()); // at 0.8 of its height a label still has two lines
    layout();
    describe();
    fitReadably();
    followAddress();
    requestAnimationFrame(() => setTimeout(() => { ready = true; readyMs = performance.now(); }));
  }

  // What a newer page of the same tree takes over, so that a tree that grows stays as its reader has it.
  let touched = false;
  for (const kind of ["pointerdown", "wheel", "keydown"]) addEventListener(kind, () => { touched = true; }, { capture: true, passive: true });
  function state() {
    const anchor = selected >= 0 ? selected : 0;
    return {
      touched, busy: pointers.size > 0 || $("help").open, theme: document.documentElement.dataset.theme, panel: !panel.hidden,
      legend: $("legend").open, settings: { ...settings }, showUntried, open: [...open.keys()].filter((id) => open[id]),
      view: { ...view }, anchor, at: position(anchor), selected, scroll: panel.scrollTop, query: $("search").value,
    };
  }
  function restore(from) {
    if (from.theme) setTheme(from.theme);
    if (!from.settings) return;
    setPanel(from.panel);
    $("legend").open = from.legend;
    for (const [id, name] of [["theta-slider", "theta"], ["theta", "theta"], ["min-visits", "minVisits"], ["path-rule", "pathRule"]]) $(id).value = from.settings[name];
    apply(from.settings);
    if (!from.touched) return;
    touched = true;
    showUntried = $("unexpanded").checked = from.showUntried;
    open.fill(0);
    for (const id of from.open) if (id < N) open[id] = 1;
    layout();
    Object.assign(view, from.view);
    const at = position(from.anchor);
    if (at && from.at) { view.tx += from.at.x - at.x; view.ty += from.at.y - at.y; }
    selected = from.selected < N ? from.selected : -1;
    $("search").value = from.query;
    if (from.query) search(from.query);
    showPanel(false);
    panel.scrollTop = from.scroll;
    describe();
    changed();
  }

  const folded = () => [...open.keys()].filter((id) => canOpen(id) && !open[id]);
  window.viewer = Object.freeze({
    get ready() { return ready; }, get readyMs() { return readyMs; }, get nodeCount() { return N; },
    get visibleCount() { return visible; }, get selected() { return selected < 0 ? null : selected; },
    get theta() { return settings.theta; }, get minVisits() { return settings.minVisits; }, get pathRule() { return settings.pathRule; },
    get validEnds() { return [...validEnds]; }, get pairs() { return listPairs(); }, get hits() { return [...hits]; },
    get hit() { return hit < 0 ? null : hits[hit]; }, get collapsed() { return folded(); },
    get theme() { return document.documentElement.dataset.theme; }, get showsUnexpanded() { return showUntried; },
    get drawMs() { return drawMs; }, get view() { return { ...view, kx: kx(), ky: ky() }; },
    position(id) {
      const at = Number.isInteger(id) && id >= 0 && id < N ? position(id) : null, box = canvas.getBoundingClientRect();
      return at && { x: at.x + box.left, y: at.y + box.top };
    },
    select(id) { if (Number.isInteger(id) && id >= 0 && id < N) select(id); },
    state, restore,
  });

  $("title").textContent = data.title;
  $("subtitle").textContent = [data.scene, data.domain].filter(Boolean).join(" · ");
  $("unexpanded-label").textContent = `Not tried (${untried.toLocaleString("en")})`;
  $("unexpanded").checked = showUntried;
  bind();
  fillHelp();
  judge();
  $("counts").textContent = verdictText();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
  $("legend").open = window.innerWidth >= 1100 && window.innerHeight >= 700;
  tellHits();
  showPanel(true);
  new ResizeObserver(resize).observe(canvas.parentElement);
  resize();
})();
