// page.html -> JSON: what Chromium makes of a report: what ran, what was asked for, what axe finds, what the keyboard reaches.
//
//     node tests/chromium.mjs NODE_FOLDER CHROMIUM page.html         everything
//     node tests/chromium.mjs NODE_FOLDER CHROMIUM page.html times   only how long it takes, in ms: to open, to filter
//
// Chromium gets no network but what the page asks for, and every request is told.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const [modules, executablePath, file, only] = process.argv.slice(2);
const require = createRequire(pathToFileURL(join(modules, "anchor.js")));
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const WIDE = { width: 1400, height: 1000 }, PHONE = { width: 400, height: 800 };
const url = pathToFileURL(file).href;
const told = { requests: [], errors: [], axe: [], overflow: [] };

const browser = await chromium.launch({ executablePath, args });

async function open(options) {
  const context = await browser.newContext(options);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  page.on("request", (request) => { if (request.url() !== url) told.requests.push(request.url()); });
  page.on("console", (message) => { if (message.type() === "error" || message.type() === "warning") told.errors.push(message.text()); });
  page.on("pageerror", (error) => told.errors.push(String(error)));
  page.on("dialog", (dialog) => { told.errors.push(`dialog ${dialog.message()}`); return dialog.dismiss(); });
  const start = performance.now();
  await page.goto(url, { waitUntil: "load" });
  if (options.javaScriptEnabled !== false) await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  told.opened ??= performance.now() - start;
  return page;
}

function note(what) {
  if (process.env.TRACE) process.stderr.write(`${Math.round(performance.now())} ms ${what}\n`);
}

async function unfold(page) {
  await page.evaluate(async () => {
    for (let round = 0; round < 3; round += 1) {
      for (const details of [...document.querySelectorAll("details")].slice(0, 300)) details.open = true;
      await new Promise((done) => setTimeout(done, 200));
    }
  });
}

if (only === "times") {
  const runs = [];
  for (let run = 0; run < 5; run += 1) {
    told.opened = undefined;
    const page = await open({ viewport: WIDE });
    const filtered = await page.evaluate(() => new Promise((done) => {
      const start = performance.now();
      document.getElementById("f-tunnel").value = "203.0.113.1";
      document.getElementById("filters").dispatchEvent(new Event("input", { bubbles: true }));
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
    }));
    runs.push({ opened: told.opened, filtered });
    await page.context().close();
  }
  await browser.close();
  process.stdout.write(JSON.stringify(runs));
  process.exit();
}

// --- accessibility: both themes, and a phone
for (const [viewport, colorScheme] of [[WIDE, "light"], [WIDE, "dark"], [PHONE, "light"]]) {
  const page = await open({ viewport, colorScheme });
  await unfold(page);
  note("unfolded");
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  for (const found of violations) {
    told.axe.push({ id: found.id, impact: found.impact, theme: colorScheme, width: viewport.width, nodes: found.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)) });
  }
  note("axe");
  told.overflow.push(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth));
  told.broken ||= await page.evaluate(() => "broken" in window);
  await page.context().close();
}

// --- what the keyboard reaches, with the first incident open as the page comes
{
  const page = await open({ viewport: WIDE });
  const wanted = await page.evaluate(() => {
    let next = 0;
    for (const element of document.querySelectorAll("a[href], button, input, select, summary, [tabindex]")) {
      if (element.checkVisibility({ contentVisibilityAuto: false }) && element.getClientRects().length) element.dataset.wanted = next++;
    }
    return next;
  });
  const reached = new Set();
  for (let press = 0; press < wanted * 4 + 40; press += 1) {  // a date has a stop for each of its parts
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => document.activeElement.dataset?.wanted);
    if (at !== undefined) reached.add(at);
    if (reached.size === wanted) break;
  }
  note("keyboard");
  told.keyboard = { wanted, reached: reached.size, missed: await page.evaluate((seen) => [...document.querySelectorAll("[data-wanted]")].filter((e) => !seen.includes(e.dataset.wanted)).map((e) => e.outerHTML.slice(0, 120)), [...reached]) };
  await unfold(page);
  // Each message of an exchange shows its lines when the focus reaches it.
  told.steps = await page.evaluate(() => [...document.querySelectorAll(".incident details[open] .ladder g.step")].map((step) => {
    step.focus();
    return { label: step.getAttribute("aria-label"), title: step.querySelector("title").textContent, failed: step.classList.contains("failed"), shown: step.closest(".inner").querySelector(".raw").textContent };
  }));
  // The theme changes, and stays changed.
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await colour();
  await page.click("#theme");
  await page.click("#theme");
  told.themes = [before, await colour()];
  // Copying gives the command, and nothing else.
  if (await page.locator(".command .copy").count()) {
    await page.locator(".command .copy").first().click();
    await page.waitForTimeout(100);
    told.copied = await page.evaluate(() => navigator.clipboard.readText().catch((error) => `refused: ${error}`));
    told.command = await page.locator(".command pre").first().textContent();
  }
  note("copied");
  // Filters.
  const incidents = () => page.locator(".incident:visible").count();
  told.filters = { all: await incidents() };
  const first = page.locator(".incident").first();
  if (told.filters.all) {
    const cause = await first.getAttribute("data-cause");
    await page.selectOption("#f-cause", cause);
    told.filters.cause = [cause, await incidents()];
    await page.click("#filters button[type=reset]");
    await page.waitForTimeout(50);
    await page.fill("#f-tunnel", "no such tunnel");
    told.filters.nothing = await incidents();
    await page.click("#filters button[type=reset]");
    await page.waitForTimeout(50);
    told.filters.again = await incidents();
    const tracks = () => page.locator(".track").count().then(async (all) => [await page.locator(".track:not([hidden])").count(), all]);
    await page.selectOption("#f-state", "advisory");
    told.filters.tracks = await tracks();
    await page.click("#filters button[type=reset]");
    await page.waitForTimeout(50);
    if (await page.locator("#f-from").count()) {
      const axis = () => page.locator("#axis").textContent();
      const bars = () => page.locator(".tracks rect:visible").count();
      told.filters.axis = [await axis()];
      told.filters.bars = [await bars()];
      await page.fill("#f-from", "2001-01-01T00:00:00");
      await page.fill("#f-to", "2001-01-01T00:10:00");
      told.filters.before = await incidents();
      told.filters.axis.push(await axis());
      told.filters.bars.push(await bars());
      await page.click("#filters button[type=reset]");
      await page.waitForTimeout(50);
      told.filters.axis.push(await axis());
      told.filters.bars.push(await bars());
    }
  }
  told.broken ||= await page.evaluate(() => "broken" in window);
  await page.context().close();
}

note("filters");

// --- without its script an incident can still be read
{
  const page = await open({ viewport: WIDE, javaScriptEnabled: false });
  told.bare = await page.locator("main").innerText();
  await page.context().close();
}

await browser.close();
process.stdout.write(JSON.stringify(told));
