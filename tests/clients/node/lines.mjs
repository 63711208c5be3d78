// Orders in, reports out: one JSON document a line. An order is {"number", "order", "with": [...]}; its answer carries its number.
import { createInterface } from "node:readline";

export const tell = (report) => process.stdout.write(`${JSON.stringify(report)}\n`);

// Carries out what comes by standard input, in order, until it ends; then cleans up and leaves.
export const obey = async (carryOut, cleanUp = async () => {}) => {
  for await (const line of createInterface({ input: process.stdin })) {
    const { number, order, with: given } = JSON.parse(line);
    try {
      tell({ number, value: (await carryOut(order, given)) ?? null });
    } catch (error) {
      tell({ number, error: String(error), status: error.status ?? null, body: error.body ?? null });
    }
  }
  await cleanUp();
  process.exit(0);
};
