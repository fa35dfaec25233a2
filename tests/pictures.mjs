// page.html -> PNGs: what `tests/pictures.py` asks for.
//
//     node tests/pictures.mjs NODE_FOLDER CHROMIUM page.html FOLDER '[{"name", "width", "height", "theme", "open", "scroll"}]'

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const [modules, executablePath, file, folder, wanted] = process.argv.slice(2);
const { chromium } = createRequire(pathToFileURL(join(modules, "anchor.js")))("playwright-core");
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
for (const { name, width, height, theme, open, scroll } of JSON.parse(wanted)) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme });
  const page = await context.newPage();
  await page.goto(pathToFileURL(file).href);
  await page.evaluate((place) => {
    [...document.querySelectorAll(".incident > details")].forEach((details, at) => { details.open = at === place; });
  }, open);
  await page.waitForTimeout(300);
  if (scroll) await page.evaluate((selector) => document.querySelector(selector).scrollIntoView(), scroll);
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await context.close();
}
await browser.close();
