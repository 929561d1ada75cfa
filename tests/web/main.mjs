/* main.mjs - all browser tests as one TAP stream. */
import { finish } from "./harness.mjs";

await import("./operator.mjs");
await import("./dashboard.mjs");
await finish();
