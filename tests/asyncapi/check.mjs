// Prints what the AsyncAPI initiative's own parser finds wrong with a document; exit 1 if anything.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const { severity, code, message, path } of diagnostics) {
  console.log(["error", "warning", "information", "hint"][severity], code, path.join("."), message);
}
const wrong = diagnostics.some(({ severity }) => severity <= 1);
if (document) console.log("operations", document.operations().all().length);
process.exit(document && !wrong ? 0 : 1);
