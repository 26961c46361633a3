/** Pages of text and tables, which follow what happens. */
import { bindLines } from "../lib/lines.ts";
import { LivePage } from "../lib/livepage.ts";

if (document.querySelector(".log")) bindLines("Output");
new LivePage().start();
