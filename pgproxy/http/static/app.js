"use strict";
// Reads the stream of states and shows them. What a server said is only ever set as text, never as markup.
// The stream is read by fetch, since an EventSource cannot send a token.

const RETRY_MS = 2000;
const STALE_MS = 6000;
const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value == null || value === false) continue;
    if (name === "data") Object.assign(element.dataset, value);
    else if (name === "className" || name === "textContent" || name === "title" || name === "colSpan") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

// Figures as people read them

const group = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

const count = (value) => (value == null ? "–" : value < 100000 ? group.format(value) : compact.format(value));
const perSecond = (value) => (value == null ? "–" : value >= 100 ? group.format(value) : String(+value.toFixed(1)));

function milliseconds(value) {
  if (value == null) return ["–", ""];
  if (value >= 1000) return [value >= 1e5 ? group.format(value / 1000) : (value / 1000).toFixed(value >= 1e4 ? 1 : 2), "s"];
  return [value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2), "ms"];
}

const inMs = (value) => milliseconds(value).join(" ").trim();

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function when(at) {
  const time = new Date(at * 1000);
  const clock = time.toLocaleTimeString("en-GB");
  return time.toDateString() === new Date().toDateString() ? clock : `${time.toLocaleDateString("en-CA")} ${clock}`;
}

// Parts of the page

let about = null;
let clockSkewS = 0;

function setValue(id, text, unit = "", bad = false) {
  const element = $(id);
  element.replaceChildren(text, ...(unit ? [make("small", { textContent: unit })] : []));
  element.classList.toggle("bad", bad);
}

function showAbout() {
  $("cluster").textContent = `cluster ${about.cluster} · ${about.engine}` + (about.engine_version ? ` ${about.engine_version}` : "");
  $("version").textContent = about.version;
  $("slow-limit").textContent = about.slow_statement_ms ? `longer than ${inMs(about.slow_statement_ms)}` : "none are noted";
  document.title = `pgproxy · ${about.cluster}`;
}

function showTiles(state, point) {
  const up = state.nodes.filter((node) => node.state === "up").length;
  setValue("t-nodes", `${up} / ${state.nodes.length}`, "", state.nodes.some((node) => node.state === "down"));
  setValue("t-clients", count(state.clients));
  setValue("t-plans", state.plan_cache_hit_rate == null ? "–" : (100 * state.plan_cache_hit_rate).toFixed(state.plan_cache_hit_rate > 0.999 ? 2 : 1), state.plan_cache_hit_rate == null ? "" : "%");
  setValue("t-uptime", duration(state.uptime_s));
  if (!point) return;
  setValue("t-rate", perSecond(point.route + point.scatter + point.node + point.local));
  setValue("t-p50", ...milliseconds(point.p50_ms));
  setValue("t-p99", ...milliseconds(point.p99_ms));
  setValue("t-errors", perSecond(point.errors), "", point.errors > 0);
}

function showBanner(state) {
  const down = state.nodes.filter((node) => node.state === "down").map((node) => node.name);
  const said = [];
  if (state.draining) said.push("The proxy is shutting down.");
  const paused = state.nodes.filter((node) => node.state === "paused").map((node) => node.name);
  if (down.length) said.push(`${down.join(", ")} ${down.length > 1 ? "are" : "is"} down: statements that need ${down.length > 1 ? "them" : "it"} fail, all others go on.`);
  if (paused.length) said.push(`${paused.join(", ")} ${paused.length > 1 ? "are" : "is"} paused: statements for ${paused.length > 1 ? "them" : "it"} wait.`);
  $("banner").textContent = said.join(" ");
  $("banner").classList.toggle("mild", !down.length);
  $("banner").hidden = !said.length;
}

const shardsOn = (node) => about.tables.flatMap((table) => table.shards.filter((shard) => shard.node === node).map((shard) => shard.table));

function showNodes(nodes) {
  const place = $("nodes");
  for (const node of nodes) {
    let card = [...place.children].find((child) => child.dataset.node === node.name);
    if (!card) {
      card = nodeCard(node);
      place.append(card);
    }
    updateCard(card, node);
  }
}

function nodeCard(node) {
  const fact = (label, name, more) => make("div", {}, make("dt", { textContent: label }), make("dd", { data: { fact: name } }), more);
  return make("article", { className: "panel node", data: { node: node.name } },
    make("div", { className: "top" },
      make("div", {}, make("h3", { textContent: node.name }), make("span", { className: "place", textContent: node.place })),
      make("span", { className: "badge", data: { fact: "state" } })),
    make("dl", {},
      fact("Heartbeat", "latency"),
      fact("Since", "since"),
      fact("Connections", "pool", make("div", { className: "bar" }, make("i")))),
    make("p", { className: "error", data: { fact: "error" } }),
    make("div", { className: "chips" }, ...shardsOn(node.name).map((name) => make("span", { className: "chip", textContent: name }))));
}

function updateCard(card, node) {
  const fact = (name) => card.querySelector(`[data-fact="${name}"]`);
  card.dataset.state = node.state;
  const badge = fact("state");
  badge.className = `badge ${node.state}`;
  badge.replaceChildren(make("span", { className: "dot" }), node.state);
  fact("latency").textContent = inMs(node.latency_ms);
  fact("since").textContent = duration(Date.now() / 1000 - clockSkewS - node.since);
  fact("since").title = when(node.since);
  fact("pool").textContent = `${node.in_use} busy of ${node.size}` + (node.waiting ? `, ${count(node.waiting)} wait` : "");
  fact("pool").title = `at most ${node.max_size}`;
  card.querySelector(".bar i").style.width = `${Math.min(100, (100 * node.in_use) / (node.max_size || 1))}%`;
  const error = fact("error");
  error.hidden = !node.error && !node.avoided;
  error.textContent = node.error ? node.error + (node.last_ok ? ` (last answer ${when(node.last_ok)})` : "")
    : node.avoided ? "Statements go through other nodes: it drains, has refused a connection, or was down a moment ago." : "";
}

function showShards(nodes) {
  const states = Object.fromEntries(nodes.map((node) => [node.name, node.state]));
  const bodies = about.tables.map((table) => make("tbody", {},
    make("tr", { className: "table-name" }, make("th", { colSpan: 4 }, table.name, make("span", { textContent: ` by ${table.method} of ${table.key}` }))),
    ...table.shards.map((shard) => make("tr", {},
      make("td", {}, make("code", { textContent: shard.table })),
      make("td", { textContent: shard.holds }),
      make("td", { textContent: shard.node }),
      make("td", { className: "n" }, make("span", { className: `badge ${states[shard.node]}` }, make("span", { className: "dot" }), states[shard.node]))))));
  $("shards").replaceChildren(bodies.length ? make("table", {}, ...bodies) : make("p", { className: "empty", textContent: "No sharded tables." }));
}

function statementCell(text) {
  const cell = make("td", { className: "s", title: "Show all of it" }, make("span", { className: "sql", textContent: text }));
  cell.addEventListener("click", () => cell.parentElement.classList.toggle("open"));
  return cell;
}

const wayCell = (way) => make("td", {}, make("span", { className: `way ${way}`, textContent: way === "node" ? "one node" : way }));
const cell = (label, text, className = "n") => make("td", { className, textContent: text, data: { label } });
const emptyRow = (columns, text) => make("tr", {}, make("td", { colSpan: columns, className: "empty", textContent: text }));

function showTemplates(templates) {
  const rows = templates.filter((template) => template.calls).map((template) => make("tr", {},
    wayCell(template.way),
    statementCell(template.template),
    cell("calls", count(template.calls)),
    cell("mean", inMs(template.mean_ms)),
    cell("p99", inMs(template.p99_ms)),
    cell("rows", count(template.rows)),
    cell("errors", count(template.errors), template.errors ? "n bad-text" : "n"),
    cell("total", inMs(template.total_ms || null))));
  $("templates").tBodies[0].replaceChildren(...(rows.length ? rows : [emptyRow(8, "No statements yet.")]));
}

function showSlow(slow) {
  const rows = slow.map((statement) => make("tr", {},
    cell("", when(statement.at), "t"),
    cell("took", inMs(statement.took_ms)),
    wayCell(statement.way),
    statementCell(statement.template),
    cell("", statement.client, "t")));
  $("slow").tBodies[0].replaceChildren(...(rows.length ? rows : [emptyRow(5, "None so far.")]));
}

function showAlerts(alerts) {
  const items = alerts.map((alert) => make("li", { data: { node: alert.node, up: String(alert.up) } },
    make("span", { className: "t", textContent: when(alert.at) }),
    make("span", {}, make("span", { className: `badge ${alert.up ? "up" : "down"}` }, make("span", { className: "dot" }), alert.up ? "up" : "down"), ` ${alert.node}`),
    alert.reason && make("span", { className: "why", textContent: alert.reason })));
  $("alerts").replaceChildren(...(items.length ? items : [make("li", { className: "empty", textContent: "Nothing has happened." })]));
}

// A part is drawn anew only when its data has changed, and not under a selection.
const shown = new Map();

function showIfNew(name, data, place, show) {
  const text = JSON.stringify(data);
  const selection = getSelection();
  const selecting = !selection.isCollapsed && place.contains(selection.anchorNode);
  if (shown.get(name) === text || selecting) return;
  shown.set(name, text);
  show(data);
}

function show(state) {
  showTiles(state, state.point);
  showBanner(state);
  showNodes(state.nodes);
  showIfNew("shards", state.nodes.map(({ name, state: s }) => ({ name, state: s })), $("shards"), showShards);
  showIfNew("templates", state.templates, $("templates"), showTemplates);
  showIfNew("slow", state.slow, $("slow"), showSlow);
  showIfNew("alerts", state.alerts, $("alerts"), showAlerts);
  if (state.point) Charts.add(state.point);
}

const handlers = {
  hello(data) {
    about = data.about;
    const last = data.points[data.points.length - 1];
    clockSkewS = last ? Date.now() / 1000 - last.at : 0;
    if (clockSkewS < 2) clockSkewS = 0;
    $("login").hidden = true;
    $("main").hidden = false;
    $("nodes").replaceChildren();
    shown.clear();
    showAbout();
    Charts.start(data.nodes.map((node) => node.name), data.points);
    show(data);
    if (last) showTiles(data, last);
  },
  state: show,
};

// The stream

function link(kind, text) {
  $("link").className = `link ${kind}`;
  $("link-text").textContent = text;
  document.body.classList.toggle("stale", kind === "lost");
}

function savedToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("token");
}

function askForToken() {
  sessionStorage.removeItem("token");
  $("main").hidden = true;
  $("login").hidden = false;
  link("waiting", "a token is needed");
  $("token").focus();
}

async function listen() {
  const stop = new AbortController();
  let timer = setTimeout(() => stop.abort(), STALE_MS);
  const token = savedToken();
  try {
    const response = await fetch("events", { headers: token ? { Authorization: `Bearer ${token}` } : {}, signal: stop.signal, cache: "no-store" });
    if (response.status === 401) return askForToken();
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    link("live", "live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let waiting = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), STALE_MS);
      const events = (waiting + value).split("\n\n");
      waiting = events.pop();
      events.forEach(handle);
    }
  } catch (error) {
    console.info("stream:", error.message);
  }
  clearTimeout(timer);
  link("lost", "no answer, trying again …");
  setTimeout(listen, RETRY_MS);
}

function handle(event) {
  const [, name, data] = event.match(/^event: (\w+)\ndata: (.*)$/) || [];
  if (handlers[name]) handlers[name](JSON.parse(data));
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  $("token").value = "";
  listen();
});

for (const button of document.querySelectorAll(".ranges button")) {
  button.addEventListener("click", () => {
    for (const other of button.parentElement.children) other.removeAttribute("aria-pressed");
    button.setAttribute("aria-pressed", "true");
    Charts.range(Number(button.dataset.minutes));
  });
}

listen();
