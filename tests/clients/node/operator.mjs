// An operator before usher's own page in headless Chromium. Usage: operator.mjs URL WIDTH SCHEME [FRAGMENT]
//
// Reports what the browser complains of ({"complaint"}) and each request to another origin than the page's ({"foreign"}), which is not let out.
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { launch } from "./chromium.mjs";
import { obey, tell } from "./lines.mjs";

const [url, width, colorScheme, fragment = ""] = process.argv.slice(2);
// Does not run in the page's own world, so its Content-Security-Policy stays as it is.
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await launch();
const tab = await browser.newPage({ viewport: { width: Number(width), height: 900 }, colorScheme, deviceScaleFactor: 1.5 });
// Longer than a busy machine takes, shorter than the tests wait for an answer.
tab.setDefaultTimeout(18000);
await tab.route("**/*", (route) => {
  const asked = route.request().url();
  if (asked.startsWith(url) || asked.startsWith("data:")) return route.continue();
  tell({ foreign: asked });
  return route.abort();
});
tab.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) tell({ complaint: message.text(), of: message.location().url });
});
tab.on("pageerror", (error) => tell({ complaint: String(error), of: "the script" }));
await tab.goto(url + fragment);
tell({ open: true });

const orders = {
  // Waits until such an element is there and has this text in it.
  see: async (selector, text) => void (await tab.locator(selector).filter({ hasText: text }).first().waitFor()),
  // Waits until no such element is there.
  miss: async (selector, text) => {
    const gone = (elements, its) => elements.every((element) => !element.checkVisibility() || !element.textContent.includes(its));
    for (const end = Date.now() + 18000; !(await tab.locator(selector).evaluateAll(gone, text)); ) {
      if (Date.now() > end) throw new Error(`${text} is still there`);
      await tab.waitForTimeout(20);
    }
  },
  // Waits for the row of the trigger with this id, with this text in it.
  "see-row": async (id, text) => void (await tab.locator(`#triggers > li[data-id="${id}"]`).filter({ hasText: text }).waitFor()),
  // The texts of what a selector finds.
  read: (selector) => tab.locator(selector).allInnerTexts(),
  click: async (role, name) => void (await tab.getByRole(role, { name, exact: true }).click()),
  "click-in": async (selector, name) => void (await tab.locator(selector).getByRole("button", { name, exact: true }).click()),
  "click-summary": async (text) => void (await tab.locator("summary", { hasText: text }).click()),
  choose: async (role, name) => void (await tab.getByRole(role, { name, exact: true }).check()),
  fill: async (label, text) => void (await tab.getByLabel(label, { exact: true }).and(tab.locator("input")).first().fill(text)),
  select: async (label, option) => void (await tab.getByRole("combobox", { name: label, exact: true }).selectOption(option)),
  press: async (key) => void (await tab.keyboard.press(key)),
  type: async (text) => void (await tab.keyboard.type(text)),
  // The name of what has the focus, and whether one can see that it has.
  focused: () => tab.evaluate(() => {
    const element = document.activeElement;
    const outlined = [element, element.nextElementSibling].some((each) => each && getComputedStyle(each).outlineStyle !== "none");
    return { name: element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent.trim() ?? element.textContent, outlined };
  }),
  // How wide the document is, and the window.
  widths: () => tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]),
  // Elements that can be operated and have no name for a screen reader.
  nameless: () => tab.evaluate(() => [...document.querySelectorAll("button, input, select, [tabindex='0']")]
    .filter((element) => element.checkVisibility() && !(element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent).trim())
    .map((element) => element.outerHTML)),
  // What axe finds wrong: rules, and the elements that break them.
  axe: async () => {
    await tab.evaluate(axe);
    const { violations } = await tab.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return violations.map(({ id, help, nodes }) => ({ id, help, elements: nodes.slice(0, 5).map(({ html, failureSummary }) => `${html}: ${failureSummary}`) }));
  },
  // Adds these fields to the answers from a path.
  amend: async (path, fields) => void (await tab.route(`**${path}`, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), ...fields } });
  })),
  reload: async () => void (await tab.reload()),
  // The elements whose content is wider than they are.
  overflowing: (selector) => tab.locator(selector).evaluateAll((all) => all.filter((each) => each.checkVisibility() && each.clientWidth > 1 && each.scrollWidth > each.clientWidth + 1)
    .map((each) => each.outerHTML)),
  // Opens the rows of a list, all or the one with this text.
  open: async (text) => {
    await tab.locator("#triggers > li > details > summary").filter({ hasText: text }).first().waitFor();
    const rows = tab.locator("#triggers > li > details:not([open]) > summary").filter({ hasText: text });
    while (await rows.count()) await rows.first().click();
    const opened = tab.locator("#triggers details[open] .record");
    for (const record of await opened.all()) await record.locator(".group, .error").first().waitFor();
    const errors = await opened.locator(".error").allInnerTexts();
    if (errors.length) throw new Error(errors.join(" "));
  },
  address: () => tab.evaluate(() => location.hash),
  back: async () => void (await tab.evaluate(() => history.back())),
  forward: async () => void (await tab.evaluate(() => history.forward())),
  // The color of the text of an element.
  color: (selector) => tab.locator(selector).first().evaluate((element) => getComputedStyle(element).color),
  // Of the whole document, or of one element.
  screenshot: async (path, selector) => void (await (selector ? tab.locator(selector).first().screenshot({ path }) : tab.screenshot({ path, fullPage: true }))),
};
await obey((order, given) => orders[order](...given), () => browser.close());
