"use strict";
/* Draws commands and exchanges when an incident is opened, filters, copies. Texts are only ever set as text. */
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  const $ = (id) => document.getElementById(id);
  const read = (id) => JSON.parse($(id).textContent);
  const data = read("data"), span = read("span"), text = (place) => data.strings[place];
  const SVG = "http://www.w3.org/2000/svg";

  function make(tag, attributes = {}, ...children) {
    const drawn = /^(svg|g|line|rect|path|text|title)$/.test(tag) && attributes.svg !== false;
    const element = drawn ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "svg" || value === undefined || value === false) continue;
      element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== undefined && child !== ""));
    return element;
  }

  /* --- theme ------------------------------------------------------------------------------------------------- */
  const themes = ["system", "light", "dark"];
  function wear(theme) {
    if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
  }
  let theme = "system";
  try { theme = localStorage.getItem("ikestream-theme") ?? theme; } catch { /* a page from a file may have no storage */ }
  wear(themes.includes(theme) ? theme : "system");
  $("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    wear(theme);
    try { localStorage.setItem("ikestream-theme", theme); } catch { /* as above */ }
  });

  /* --- copy -------------------------------------------------------------------------------------------------- */
  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    const source = button.parentElement.querySelector("pre"), label = button.textContent;
    let done = true;
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      getSelection().selectAllChildren(source);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = label; }, 1500);
  });

  /* --- commands ---------------------------------------------------------------------------------------------- */
  const AZURE = ["az", "PowerShell"];
  const chosen = { azure: "az", peer: "" };

  function commands(place) {
    const all = data.commands[place.dataset.key].map((command) => command.map(text));
    const tools = [...new Set(all.map((command) => command[1]))];
    const pick = (label, which, options) => {
      const select = make("select", {}, ...options.map(([value, name]) =>
        make("option", { value, selected: chosen[which] === value }, name)));
      select.addEventListener("change", () => {
        chosen[which] = select.value;
        for (const other of document.querySelectorAll(".commands[data-drawn]")) commands(other);
        place.querySelectorAll("select")[which === "azure" ? 0 : place.querySelectorAll("select").length - 1].focus();
      });
      return make("label", {}, label, select);
    };
    const azure = AZURE.filter((tool) => tools.includes(tool)), peer = tools.filter((tool) => !AZURE.includes(tool));
    const picks = make("div", { class: "picks" });
    if (azure.length > 1) picks.append(pick("Azure with", "azure", azure.map((tool) => [tool, tool])));
    if (peer.length) picks.append(pick("The peer is", "peer", [["", "choose its device"], ...peer.map((tool) => [tool, tool])]));
    const shown = all.filter((command) => command[1] === chosen.peer || command[1] === chosen.azure || (azure.length === 1 && AZURE.includes(command[1])));
    place.replaceChildren(picks, ...shown.map(command));
    place.dataset.drawn = "";
  }

  function command([side, tool, line, effect, undo, assumed]) {
    const reads = effect.startsWith("None; "), says = effect.replace(/^None; /, "");
    const facts = make("dl");
    for (const [name, value] of [["Assumed", assumed], ["Undo", undo === "Not needed." ? "" : undo]]) {
      if (value) facts.append(make("dt", {}, name), make("dd", {}, value));
    }
    return make("article", { class: reads ? "command" : "command changes" },
      make("header", {}, make("b", {}, `${side}, ${tool}`), make("span", { class: "kind" }, reads ? "read only" : "changes something"),
        make("span", {}, says)),
      make("div", { class: "copied" }, make("pre", { tabindex: "0" }, make("code", {}, line)), make("button", { type: "button", class: "copy" }, "Copy")),
      ...(facts.children.length ? [facts] : []));
  }

  /* --- exchanges --------------------------------------------------------------------------------------------- */
  const clock = (at) => new Date(at).toISOString().slice(11, 23);
  const timed = span !== null;
  const STAGE = { done: "✓ ", failed: "✕ ", "not reached": "· " };

  function exchanges(place) {
    const all = data.exchanges[place.dataset.key] ?? [];
    const first = all.findIndex((exchange) => exchange.bad);
    if (!all.length) place.append(make("p", { class: "hint" }, "No exchange of this tunnel is kept here: the log has none, or the page is full."));
    else place.replaceChildren(...all.map((exchange, at) => {
      const when = timed ? `${new Date(exchange.at).toISOString().slice(0, 10)} ${clock(exchange.at).slice(0, 8)}` : `attempt ${all.length - at}`;
      const who = { Azure: "Azure begins", Peer: "the peer begins", Unknown: "who began is not known" }[exchange.who];
      const summary = make("summary", {}, make("b", {}, when), make("span", {}, exchange.last ? `last good one, ${who}` : who),
        make("span", { class: "end" }, (exchange.bad ? "✕ " : "") + text(exchange.end)));
      const inner = make("div", { class: "inner" });
      const drawn = make("details", { class: exchange.bad ? "exchange bad" : "exchange", open: at === Math.max(first, 0) }, summary, inner);
      const draw = () => {
        if (!drawn.open || inner.childElementCount) return;
        inner.append(make("ol", { class: "stages", "aria-label": "How far it came" }, ...exchange.stages.map(([name, reach]) =>
          make("li", { class: reach.split(" ")[0] }, STAGE[reach] + name, make("span", { class: "hint" }, reach === "done" ? "" : ` ${reach}`)))));
        if (!exchange.stages.length) inner.firstChild.remove();
        const ladder = make("div", { class: "frame" }), raw = make("pre", { class: "raw", tabindex: "0", "aria-live": "polite", "aria-label": "The log lines of the chosen message" });
        inner.append(ladder, raw);
        let width = 0;
        const redraw = () => {
          const room = Math.floor(ladder.clientWidth);
          if (!room || room === width) return;
          width = room;
          ladder.replaceChildren(draw_ladder(exchange, width, raw));
        };
        new ResizeObserver(redraw).observe(ladder);
        redraw();
      };
      drawn.addEventListener("toggle", draw);
      drawn.draw = draw;
      return drawn;
    }));
    for (const drawn of place.children) drawn.draw?.();
  }

  function lines_of(step) {
    const lines = [];
    for (let at = 0; at < step[6].length; at += 2) lines.push(text(step[6][at]) + text(step[6][at + 1]));
    if (step[7]) lines.push(`and ${step[7]} more like them`);
    return lines.length ? lines.join("\n") : "No line of the log: that is the point.";
  }

  function draw_ladder(exchange, width, raw) {
    const narrow = width < 520, left = narrow ? 14 : 118, right = width - 14, middle = (left + right) / 2;
    const fit = (label, room, size = 6.3) => label.length * size <= room ? label : label.slice(0, Math.max(Math.floor(room / size) - 1, 1)) + "…";
    const svg = make("svg", { class: "ladder", role: "group", "aria-label": `Exchange between Azure and peer: ${text(exchange.end)}` });
    const steps = make("g"), half = (right - left) / 2 - 8;
    svg.append(make("text", { class: "end", x: left, y: 14 }, fit("Azure", half)), make("text", { class: "end", x: right, y: 14, "text-anchor": "end" }, fit("Peer", half)),
      make("text", { class: "soft", x: left, y: 30 }, fit(text(exchange.ends[0]), half)), make("text", { class: "soft", x: right, y: 30, "text-anchor": "end" }, fit(text(exchange.ends[1]), half)));
    let y = 40, shown;
    const groups = exchange.steps.map((step) => {
      const [way, offset, , , times, failed] = step, name = text(step[2]), says = text(step[3]);
      const when = timed ? clock(exchange.at + offset) : "";
      const above = narrow && timed && way < 3, height = way === 2 ? 40 + (above ? 14 : 0) : 54 + (above ? 14 : 0);
      const theirs = way === 1 || way === 3, from = theirs ? right : left, to = theirs ? left : right, sign = to > from ? 1 : -1;
      const arrow_name = [name, times > 1 ? `× ${times}` : "", failed ? (way > 2 ? "" : "✕ failed here") : ""].filter(Boolean).join("  ");
      const label = `${when} ${["Azure to peer", "Peer to Azure", "At Azure", "Missing, peer to Azure", "Missing, Azure to peer"][way]}: ${name} ${says}${failed ? ", failed here" : ""}`.trim();
      const group = make("g", { class: failed ? "step failed" : "step", tabindex: "0", role: "img", "aria-label": label });
      group.append(make("title", {}, lines_of(step)), make("rect", { class: "hit", x: 0, y, width, height, rx: 4 }));
      const base = y + (above ? 14 : 0);
      if (when && way < 3) group.append(make("text", { class: "time", x: narrow ? left + 6 : 0, y: narrow ? y + 12 : base + (way === 2 ? 24 : 30) }, when));
      if (way === 2) {
        const box = Math.min(right - left - 20, narrow ? right : 460);
        group.append(make("rect", { class: "note", x: left - 5, y: base + 7, width: box, height: 26, rx: 4 }),
          make("text", { class: "says", x: left + 5, y: base + 24 }, fit([failed ? "✕" : "", name.startsWith("IKE_") ? "Azure" : name, says].filter(Boolean).join(": ").replace("✕: ", "✕ "), box - 16)));
      } else {
        // What is missing gets half-way, for all that is known.
        const at = base + 27, missing = way > 2, stop = missing ? middle : to;
        group.append(make("text", { class: "name", x: middle, y: at - 7, "text-anchor": "middle" }, fit(arrow_name, right - left - 30, 7)),
          make("line", { class: missing ? "arrow missing" : "arrow", x1: from, x2: stop - sign * (missing ? 12 : 6), y1: at, y2: at }));
        if (missing) {
          const x = stop - sign * 6;
          group.append(make("path", { class: "cross", d: `M${x - 5} ${at - 5}L${x + 5} ${at + 5}M${x - 5} ${at + 5}L${x + 5} ${at - 5}` }));
        } else {
          group.append(make("path", { class: "tip", d: `M${to} ${at}l${-sign * 9} -4.5v9z` }));
        }
        group.append(make("text", { class: "says", x: middle, y: at + 17, "text-anchor": "middle" }, fit(says, right - left - 20)));
      }
      const show = () => {
        shown?.classList.remove("shown");
        shown = group;
        group.classList.add("shown");
        raw.textContent = lines_of(step);
      };
      for (const what of ["focus", "pointerenter", "click"]) group.addEventListener(what, show);
      group.addEventListener("keydown", (event) => {
        const next = { ArrowDown: group.nextElementSibling, ArrowUp: group.previousElementSibling }[event.key];
        if (next) { event.preventDefault(); next.focus(); }
      });
      if (failed) setTimeout(show); else if (!shown) show();
      y += height;
      return group;
    });
    steps.append(...groups);
    if (exchange.out) { steps.append(make("text", { class: "soft", x: left + 6, y: y + 14 }, `${exchange.out} messages in the middle are left out`)); y += 20; }
    svg.append(make("line", { class: "life", x1: left, x2: left, y1: 36, y2: y + 4 }), make("line", { class: "life", x1: right, x2: right, y1: 36, y2: y + 4 }), steps);
    svg.setAttribute("height", y + 8);
    svg.setAttribute("viewBox", `0 0 ${width} ${y + 8}`);
    return svg;
  }

  function fill(incident) {
    for (const place of incident.querySelectorAll(".commands:not([data-drawn])")) commands(place);
    for (const place of incident.querySelectorAll(".exchanges:empty")) exchanges(place);
  }
  const incidents = [...document.querySelectorAll(".card")];
  for (const incident of incidents) {
    const details = incident.firstElementChild;
    details.addEventListener("toggle", () => { if (details.open) fill(incident); });
    if (details.open) fill(incident);
  }

  /* --- filters ----------------------------------------------------------------------------------------------- */
  const form = $("filters"), value = (id) => $(id)?.value ?? "";
  const instant = (id) => value(id) ? Date.parse(value(id) + "Z") : NaN;

  function filter() {
    const words = value("f-tunnel").trim().toLowerCase(), cause = value("f-cause"), state = value("f-state");
    const from = instant("f-from"), to = instant("f-to");
    let shown = 0;
    for (const incident of incidents) {
      const own = incident.dataset;
      const fits = own.search.includes(words) && (!cause || own.cause === cause) && (!state || own.state === state)
        && !(own.from && (Number(own.from) > to || Number(own.to) < from));
      incident.hidden = !fits;
      shown += fits;
    }
    for (const row of document.querySelectorAll(".aside tbody tr")) row.hidden = !row.dataset.search.includes(words);
    for (const aside of document.querySelectorAll(".aside")) {
      aside.hidden = Boolean(cause && cause !== aside.dataset.cause) || Boolean(state && state !== "advisory") || !aside.querySelector("tbody tr:not([hidden])");
    }
    // A cause or a state leaves the tunnels of which an outage is shown.
    for (const track of document.querySelectorAll(".track")) {
      const fits = [...track.querySelectorAll("a")].some((link) => $(link.getAttribute("href").slice(1))?.hidden === false);
      track.hidden = !track.dataset.search.includes(words) || (Boolean(cause || state) && !fits);
    }
    for (const section of document.querySelectorAll("#advisories, #quiet")) {
      section.hidden = !section.querySelector(".card:not([hidden]), .aside:not([hidden])");
    }
    $("nothing").hidden = Boolean(document.querySelector("#incidents .card:not([hidden])")) || !document.querySelector("#incidents .card");
    const narrowed = words || cause || state || from === from || to === to;
    $("shown").textContent = narrowed ? `${shown} of ${incidents.length} shown` : "";
    zoom(from, to);
  }

  const STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2419200];
  let zoomed = "";
  function zoom(from, to) {
    if (!timed || !$("axis")) return;
    const start = from === from ? from : span[0], end = Math.max(to === to ? to : span[1], start + 1000);
    if (`${start} ${end}` === zoomed || (!zoomed && start === span[0] && end === span[1])) return;
    zoomed = `${start} ${end}`;
    const place = (at) => Math.min(Math.max((at - start) / (end - start), 0), 1) * 100;
    const share = (percent) => span[0] + (span[1] - span[0]) * parseFloat(percent) / 100;
    for (const drawn of document.querySelectorAll(".tracks rect, .tracks .m line, .tracks .m text")) {
      // What the page was written with is kept beside what is shown.
      drawn.from ??= drawn.getAttribute(drawn.tagName === "line" ? "x1" : "x");
      drawn.long ??= drawn.getAttribute("width") ?? "0";
      const a = share(drawn.from), b = share(parseFloat(drawn.from) + parseFloat(drawn.long));
      drawn.classList.toggle("outside", b < start || a > end);
      if (drawn.tagName === "line") {
        drawn.setAttribute("x1", place(a) + "%");
        drawn.setAttribute("x2", place(a) + "%");
      } else {
        drawn.setAttribute("x", place(a) + "%");
        if (drawn.tagName === "rect") drawn.setAttribute("width", place(b) - place(a) + "%");
      }
    }
    const step = 1000 * (STEPS.find((seconds) => (end - start) / seconds / 1000 <= 7) ?? Math.ceil((end - start) / 604800000) * 86400);
    const ticks = [];
    for (let at = Math.ceil(start / step) * step; at <= end; at += step) {
      const day = at % 86400000 === 0, iso = new Date(at).toISOString();
      ticks.push(make("g", {}, make("line", { x1: place(at) + "%", x2: place(at) + "%", y1: 14, y2: 20 }),
        make("text", { x: place(at) + "%", y: 11 }, day ? (step > 2419200000 ? iso.slice(0, 7) : iso.slice(5, 10)) : iso.slice(11, step < 60000 ? 19 : 16))));
    }
    $("axis").replaceChildren(...ticks);
  }
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const pick of document.querySelectorAll(".pick")) pick.addEventListener("click", () => {
    $("f-tunnel").value = $("f-tunnel").value === pick.dataset.pick ? "" : pick.dataset.pick;
    filter();
  });
  filter();

  /* --- links to incidents, print ----------------------------------------------------------------------------- */
  function follow() {
    const target = location.hash.length > 1 ? $(location.hash.slice(1)) : null;
    if (!target?.classList.contains("card")) return;
    target.hidden = false;
    target.firstElementChild.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", follow);
  follow();
  const FEW = 12;
  let opened = [];
  addEventListener("beforeprint", () => {
    const shown = incidents.filter((incident) => !incident.hidden);
    opened = shown.length <= FEW ? shown.map((incident) => incident.firstElementChild).filter((details) => !details.open) : [];
    for (const details of opened) { details.open = true; fill(details.parentElement); }
  });
  addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
  $("print").addEventListener("click", () => print());
})();
