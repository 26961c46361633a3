/** Pages of text and tables, which follow what happens. */
import { LivePage } from "../lib/livepage.ts";

new LivePage().start();
