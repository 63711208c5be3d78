// An operator before usher's own page in headless Chromium. Usage: operator.mjs URL WIDTH SCHEME
//
// Reports what the browser complains of ({"complaint"}) and each request to another origin than the page's ({"foreign"}), which is not let out.
import { launch } from "./chromium.mjs";
import { obey, tell } from "./lines.mjs";

const [url, width, colorScheme] = process.argv.slice(2);
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
await tab.goto(url);
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
  // The texts of what a selector finds.
  read: (selector) => tab.locator(selector).allInnerTexts(),
  click: async (role, name) => void (await tab.getByRole(role, { name, exact: true }).click()),
  "click-in": async (selector, name) => void (await tab.locator(selector).getByRole("button", { name, exact: true }).click()),
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
  screenshot: async (path) => void (await tab.screenshot({ path, fullPage: true })),
};
await obey((order, given) => orders[order](...given), () => browser.close());
