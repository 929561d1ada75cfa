/*
 * dashboard.mjs - each page and form of the dashboard in a real browser.
 *
 * Environment: harness.mjs's, and LAB_USERS (to choose an account to hold).
 */
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { audit, base, complaints, contrast, open, password, shot, signIn, test, text, user } from "./harness.mjs";

const pages = ["/overview", "/limits", "/queue", "/alerts", "/alerts?state=waiting", "/incidents", "/incidents?state=all", "/reports", "/reports?show=unmatched", "/exemptions", "/exemptions?show=all", "/who",
	"/who?q=192.0.2.10", "/who?q=192.0.2.10&port=40123&time=-1h", "/audit"];

/* --- before login --------------------------------------------------------------------------------- */

const page = await open();
await page.addInitScript(() => document.addEventListener("securitypolicyviolation", e => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`)));

await test("nothing is shown without a session; the login page leads back", async () => {
	for (const path of pages) {
		await page.goto(base + path);
		assert.equal(new URL(page.url()).pathname, "/login", path);
	}
	await page.goto(`${base}/incidents`);
	assert.equal(await page.inputValue("input[name=next]"), "/incidents");
	await page.goto(`${base}/login?next=https://example.org/`);
	assert.equal(await page.inputValue("input[name=next]"), "/overview");
	assert.deepEqual(await page.evaluate(audit), []);
	await shot(page, "login");
});

await test("a wrong password is refused in words, and the name is kept", async () => {
	await signIn(page, "certainly not this");
	assert.equal(new URL(page.url()).pathname, "/login");
	assert.ok((await page.locator("[role=alert]").innerText()).length > 10);
	assert.equal(await page.inputValue("#user"), user);
	assert.equal(await page.inputValue("#password"), "");
	complaints.length = 0; /* the browser reports the 403 of that page */
});

await test("the login form is bound to this browser", async () => {
	const answer = await (await open()).context().request.post(`${base}/login`, { form: { user, password, csrf: "0".repeat(32) } });
	assert.equal(answer.status(), 403);
	assert.ok(!(answer.headers()["set-cookie"] ?? "").includes("__Host-sekisho=0"));
});

await test("signing in leads to the overview, with a strict cookie", async () => {
	const slowed = () => new URL(page.url()).pathname === "/login";
	const until = Date.now() + 20000;
	do
		await signIn(page);
	while (slowed() && Date.now() < until); /* after a wrong password acctd may ask to wait */
	complaints.length = 0;
	assert.equal(new URL(page.url()).pathname, "/overview");
	const c = (await page.context().cookies()).find(x => x.name === "__Host-sekisho");
	assert.ok(c, "no session cookie");
	assert.deepEqual([c.httpOnly, c.secure, c.sameSite, c.path, c.domain], [true, true, "Strict", "/", new URL(base).hostname]);
	assert.equal(await page.evaluate(() => document.cookie), "");
});

await test("every answer carries the security headers", async () => {
	const h = (await page.context().request.get(`${base}/overview`)).headers();
	assert.equal(h["content-security-policy"], "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'");
	assert.equal(h["cache-control"], "no-store");
	assert.equal(h["x-content-type-options"], "nosniff");
	assert.match(h["strict-transport-security"], /max-age=\d{7,}/);
	for (const f of ["sekisho.css", "sekisho.js", "logo.svg"])
		assert.equal((await page.context().request.get(`${base}/static/${f}`)).status(), 200, f);
});

/* --- every page ------------------------------------------------------------------------------------ */

for (const path of pages)
	await test(`${path} is whole and accessible`, async () => {
		const answer = await page.goto(base + path);
		assert.equal(answer.status(), 200);
		assert.deepEqual(await page.evaluate(audit), []);
		assert.deepEqual(await page.evaluate(contrast), []);
		await shot(page, path.slice(1).replace(/[^a-z0-9]+/gi, "-"));
	});

await test("dark mode keeps the contrast", async () => {
	await page.emulateMedia({ colorScheme: "dark" });
	for (const path of pages) {
		await page.goto(base + path);
		assert.deepEqual(await page.evaluate(contrast), [], path);
	}
	await page.goto(`${base}/overview`);
	await shot(page, "overview-dark");
	await page.emulateMedia({ colorScheme: "light" });
});

await test("a telephone's width is enough", async () => {
	await page.setViewportSize({ width: 360, height: 740 });
	for (const path of pages) {
		await page.goto(base + path);
		assert.deepEqual(await page.evaluate(audit), [], path);
	}
	await page.goto(`${base}/overview`);
	await shot(page, "overview-phone");
	await page.setViewportSize({ width: 1440, height: 900 });
});

await test("the keyboard reaches the page, first by the skip link", async () => {
	await page.goto(`${base}/overview`);
	await page.keyboard.press("Tab");
	assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
	await page.keyboard.press("Enter");
	assert.equal(await page.evaluate(() => document.activeElement.id), "main");
});

/* --- the overview ------------------------------------------------------------------------------------ */

await test("the overview says in one sentence who needs you and what was stopped", async () => {
	await page.goto(`${base}/overview`);
	assert.match(await page.locator(".headline").innerText(),
		/^(\d+ of \d+ senders? needs? you|Nobody needs you)(; \d+ (is|are) contained)?\. Port 25: [\d,]+ attempts? from [\d,]+ lines? stopped/);
	assert.match(await text(page), /192\.0\.2\.\d+/);
});

await test("the chart and its table hold the same 96 quarters of an hour", async () => {
	await page.click("#chart-table > summary");
	const rows = await page.locator("#chart-table tbody tr").count();
	assert.equal(rows, 96);
	const sum = await page.locator("#chart-table tbody td:nth-child(2)").evaluateAll(c => c.reduce((s, e) => s + Number(e.textContent.replaceAll(",", "")), 0));
	assert.ok(sum > 0, "nothing was stopped on port 25");
	assert.ok(await page.locator("svg.bars .c-blocked").count() > 0);
});

await test("the health strip names the four daemons, all up", async () => {
	for (const d of ["nfqd", "msad", "ratelimitd", "acctd"])
		assert.match(await page.locator(".health li", { hasText: d }).innerText(), /up/);
});

/* --- exemptions --------------------------------------------------------------------------------------- */

const prefix = "198.51.100.64/29";
async function fillExemption(p, values) {
	await p.goto(`${base}/exemptions`);
	for (const [name, value] of Object.entries(values))
		await p.fill(`#f-${name}`, value);
	await p.click("button:has-text('Register')");
	await p.waitForLoadState();
}

await test("a wrong prefix is refused with what to write, and the form keeps what was typed", async () => {
	await fillExemption(page, { prefix: "198.51.100.65/29", contract: "F-77", reason: "own <b>server</b>" });
	assert.match(await page.locator("[role=alert]").innerText(), /198\.51\.100\.64\/29/);
	assert.equal(await page.inputValue("#f-prefix"), "198.51.100.65/29");
	assert.equal(await page.inputValue("#f-contract"), "F-77");
	assert.equal(await page.inputValue("#f-reason"), "own <b>server</b>");
	complaints.length = 0; /* the browser reports the 422 of that page */
});

await test("an expiry in the past is refused", async () => {
	await fillExemption(page, { prefix, reason: "test", expires: "2020-01-01" });
	assert.match(await page.locator("[role=alert]").innerText(), /Expires/);
	complaints.length = 0;
});

await test("an exemption is registered, listed, and removed with a reason", async () => {
	await fillExemption(page, { prefix, contract: "F-77", contact: "postmaster@customer.example", reason: "own <b>server</b>", expires: "+90d" });
	assert.match(page.url(), /\/exemptions\?done=/);
	const row = page.locator("tbody tr", { hasText: prefix });
	assert.match(await row.innerText(), /F-77[\s\S]*own <b>server<\/b>/);
	await row.locator("summary").click();
	await row.locator("input[name=reason]").fill("contract ended");
	await row.locator("button").click();
	await page.waitForLoadState();
	assert.equal(await page.locator("tbody tr", { hasText: prefix }).count(), 0);
	await page.goto(`${base}/exemptions?show=all`);
	assert.match(await page.locator("tbody tr", { hasText: prefix }).first().innerText(), /removed/);
});

await test("an exemption is requested, looked at, activated, suspended, resumed and removed on its own page", async () => {
	await page.goto(`${base}/exemptions`);
	for (const [name, value] of Object.entries({ prefix: "198.51.100.80", contract: "F-78", reason: "<i>new</i> server", helo: "mail.customer.example" }))
		await page.fill(`#f-${name}`, value);
	await page.click("button:has-text('Request only')");
	await page.waitForURL(/\/exemptions\?done=requested/);
	await page.goto(`${base}/exemptions?state=requested`);
	await page.locator("tbody th a", { hasText: "198.51.100.80" }).click();
	await page.waitForURL(/\/exemptions\/\d+$/);
	assert.match(await page.locator(".facts").innerText(), /F-78[\s\S]*mail\.customer\.example[\s\S]*<i>new<\/i> server/);
	await page.click("button:has-text('Verify now')");
	await page.waitForURL(/done=verify/);
	assert.match(await page.locator("section", { hasText: "Evidence" }).last().innerText(), /ptr/);
	for (const [label, verb] of [["Activate", "activate"], ["Suspend", "suspend"], ["Resume", "resume"], ["Remove", "remove"]]) {
		await page.fill(`#r-${verb}`, `because ${verb}`);
		await page.locator(`form[action$='/${verb}'] button`, { hasText: label }).click();
		await page.waitForURL(/done=/);
		assert.match(await page.locator(".timeline li").last().innerText(), new RegExp(`because ${verb}`));
	}
	assert.equal(await page.locator("form[action$='/remove']").count(), 0);
	assert.equal(await page.locator(".timeline li").count() >= 6, true);
});

await test("the list of exemptions is filtered by state", async () => {
	await page.goto(`${base}/exemptions`);
	await page.selectOption("#q-state", "removed");
	await page.click("form[action='/exemptions'] button:has-text('Filter')");
	await page.waitForURL(/state=removed/);
	assert.ok(await page.locator("tbody tr", { hasText: "198.51.100.80" }).count() > 0);
	await page.selectOption("#q-state", "verified");
	await page.click("form[action='/exemptions'] button:has-text('Filter')");
	await page.waitForURL(/state=verified/);
	assert.match(await page.locator("main").innerText(), /None is like that/);
});

/* --- incidents ------------------------------------------------------------------------------------------ */

await test("the account that was contained by itself is on the list, with the reason in words", async () => {
	await page.goto(`${base}/incidents?state=contained`);
	await page.locator("tbody th a").first().click();
	await page.waitForURL(/\/incidents\/\d+/);
	assert.match(await page.locator(".lead").first().innerText(), /score \d+, held from \d+; .*\(\+\d+\)/);
	assert.ok(await page.locator(".timeline li").count() > 0);
	assert.deepEqual(await page.evaluate(audit), []);
	assert.deepEqual(await page.evaluate(contrast), []);
	await shot(page, "incident");
});

await test("a note is added to its timeline, as text", async () => {
	await page.fill("#text", "called the customer <script>alert(1)</script>");
	await page.click("button:has-text('Add note')");
	await page.waitForURL(/done=note/);
	assert.match(await page.locator(".timeline li").last().innerText(), /called the customer <script>alert\(1\)<\/script>/);
});

const account = process.env.LAB_USERS
	? readFileSync(process.env.LAB_USERS, "utf8").trim().split("\n").at(-1).split(/\s+/)[2] : "user32@isp.example";

await test("an account is held, released and resolved by hand", async () => {
	const state = () => page.locator(".case-head .chip").innerText();
	await page.goto(`${base}/who?q=${encodeURIComponent(account)}`);
	assert.deepEqual(await page.evaluate(audit), []);
	await page.fill("#r-hold", "customer asks");
	await page.click("button:has-text('Hold its mail')");
	await page.waitForURL(/\/incidents\/\d+\?done=hold/);
	assert.match(await state(), /contained/);
	assert.match(await text(page), new RegExp(account));
	await page.fill("#r-release", "password changed");
	await page.click("button:has-text('Release')");
	await page.waitForURL(/done=release/);
	assert.match(await state(), /released/);
	await page.fill("#r-resolve", "done");
	await page.click("button:has-text('Resolve')");
	await page.waitForURL(/done=resolve/);
	assert.match(await state(), /resolved/);
	assert.match(await page.locator(".timeline").innerText(), /password changed/);
});

/* --- abuse reports --------------------------------------------------------------------------------------- */

const complaint = (ip) => [
	"From: feedback@example.net", "To: abuse@isp.example", "Subject: FW: complaint", "Date: Sun, 22 Nov 2026 12:00:00 +0000", "MIME-Version: 1.0",
	`Message-ID: <${Date.now()}@example.net>`,
	'Content-Type: multipart/report; report-type=feedback-report; boundary="b"', "", "--b", "Content-Type: text/plain", "", "Spam.", "",
	"--b", "Content-Type: message/feedback-report", "", "Feedback-Type: abuse", "User-Agent: <img src=x onerror=alert(1)>/1.0", "Version: 1",
	"Arrival-Date: Sun, 22 Nov 2026 11:59:00 +0000", `Source-IP: ${ip}`, "", "--b", "Content-Type: message/rfc822", "",
	"From: \"Bank\" <service@bank.example>", "Subject: <script>alert(2)</script> \u202etxt.exe", "Date: Sun, 22 Nov 2026 11:59:00 +0000", "", "Buy.", "", "--b--", "",
].join("\r\n");

await test("a pasted report is filed; hostile text in it stays text", async () => {
	await page.goto(`${base}/reports`);
	await page.click("summary:has-text('Paste a report')");
	await page.fill("#raw", complaint("198.51.100.250"));
	await page.click("button:has-text('Read and file it')");
	await page.waitForURL(/\/reports\/\d+\?done=imported/);
	const t = await text(page);
	assert.match(t, /198\.51\.100\.250/);
	assert.match(t, /<script>alert\(2\)<\/script>/);
	assert.match(t, /<img src=x onerror=alert\(1\)>/);
	assert.ok(!t.includes("\u202e"), "a direction-changing character reached the page");
	assert.equal(await page.locator("main script, main img").count(), 0);
	assert.deepEqual(await page.evaluate(audit), []);
	assert.deepEqual(await page.evaluate(contrast), []);
	await shot(page, "report");
});

await test("an unmatched report is attached to an incident by hand", async () => {
	const report = page.url().match(/\/reports\/(\d+)/)[1];
	await page.goto(`${base}/reports?show=unmatched`);
	await page.click(`a[href="/reports/${report}"]`);
	await page.waitForURL(/\/reports\/\d+$/);
	const incident = await page.locator("#incidents option").first().getAttribute("value");
	await page.fill("#f-incident", incident);
	await page.click("button:has-text('Attach')");
	await page.waitForURL(/done=attached/);
	await page.click(`main a[href="/incidents/${incident}"]`);
	await page.waitForURL(/\/incidents\/\d+$/);
	assert.ok(await page.locator(`a[href="/reports/${report}"]`).count() > 0);
});

await test("what is not a report is refused, and the paste is kept", async () => {
	await page.goto(`${base}/reports`);
	await page.click("summary:has-text('Paste a report')");
	await page.fill("#raw", "Subject: hello\n\nThis is no report.");
	await page.click("button:has-text('Read and file it')");
	await page.waitForSelector("[role=alert]");
	assert.match(await page.inputValue("#raw"), /This is no report/);
	complaints.length = 0;
});

/* --- look-up, audit, errors -------------------------------------------------------------------------------- */

await test("a look-up by address names the subscriber; nonsense gets an answer in words", async () => {
	await page.goto(`${base}/overview`);
	await page.fill("#find", "192.0.2.10");
	await page.press("#find", "Enter");
	await page.waitForURL(/\/who\?q=192/);
	assert.match(await text(page), /one subscriber|subscribers share it/);
	assert.match(await text(page), /Port 25 now/);
	await page.fill("#q", "not an address");
	await page.click("main .row-form button");
	await page.waitForURL(/q=not/);
	assert.match(await text(page), /Nothing is known by that name/);
	await page.fill("#q", "192.0.2.10");
	await page.fill("#port", "70000");
	await page.click("main .row-form button");
	await page.waitForSelector("[role=alert]");
	assert.match(await page.locator("[role=alert]").innerText(), /from 1 to 65535/);
	complaints.length = 0; /* the browser reports the 422 of that page */
});

await test("the audit trail names who registered and removed", async () => {
	await page.goto(`${base}/audit`);
	const t = await text(page);
	assert.match(t, /exempt\.add/);
	assert.match(t, /exempt\.remove/);
	assert.match(t, new RegExp(user));
	assert.match(t, /contract ended/);
});

await test("unknown pages and methods are answered with their status", async () => {
	const r = page.context().request;
	assert.equal((await r.get(`${base}/nope`)).status(), 404);
	assert.equal((await r.get(`${base}/incidents/999999`)).status(), 404);
	assert.equal((await r.get(`${base}/logout`)).status(), 405);
	assert.equal((await r.get(`${base}/logout`)).headers().allow, "POST");
	assert.equal((await r.delete(`${base}/overview`)).status(), 405);
	assert.equal((await r.get(`${base}/who?q=%ff`)).status(), 400);
	assert.ok([403, 404].includes((await r.get(`${base}/static/`)).status()), "a directory is listed");
	assert.ok([400, 403, 404].includes((await r.get(`${base}/static/%2e%2e/%2e%2e/etc/passwd`)).status()));
});

await test("a form with a wrong token, or from another site, changes nothing", async () => {
	const r = page.context().request, form = { prefix, reason: "forged", csrf: "0".repeat(32) };
	assert.equal((await r.post(`${base}/exemptions/add`, { form })).status(), 403);
	await page.goto(`${base}/exemptions`);
	form.csrf = await page.locator("form[action='/exemptions/add'] input[name=csrf]").inputValue();
	assert.equal((await r.post(`${base}/exemptions/add`, { form, headers: { origin: "https://example.org" } })).status(), 403);
	assert.equal((await r.post(`${base}/exemptions/add`, { form, headers: { "sec-fetch-site": "cross-site" } })).status(), 403);
	await page.reload();
	assert.equal(await page.locator("tbody tr", { hasText: prefix }).count(), 0);
});

await test("a link from another site keeps the session", async () => {
	const r = await page.context().request.get(`${base}/incidents`, { headers: { "sec-fetch-site": "cross-site", cookie: "" } });
	assert.equal(r.status(), 200);
	assert.match(await r.text(), /http-equiv="refresh" content="0;url=\/incidents"/);
});

/* --- without JavaScript ------------------------------------------------------------------------------------ */

await test("everything works with JavaScript off", async () => {
	const plain = await open({ javaScriptEnabled: false });
	await signIn(plain);
	assert.equal(new URL(plain.url()).pathname, "/overview");
	for (const path of pages) {
		await plain.goto(base + path);
		assert.equal(new URL(plain.url()).pathname, path.replace(/\?.*/, ""));
	}
	await fillExemption(plain, { prefix, reason: "no script" });
	const row = plain.locator("tbody tr", { hasText: prefix });
	await row.locator("summary").click();
	await row.locator("input[name=reason]").fill("no script");
	await row.locator("button").click();
	await plain.waitForURL(/\/exemptions\?done=/);
	assert.equal(await plain.locator("tbody tr", { hasText: prefix }).count(), 0);
	await plain.click("button:has-text('Sign out')");
	await plain.waitForURL(/\/login/);
	await plain.context().close();
});

/* --- the end -------------------------------------------------------------------------------------------------- */

await test("after signing out the session is gone, here and for who kept its cookie", async () => {
	const kept = (await page.context().cookies()).find(c => c.name === "__Host-sekisho");
	await page.goto(`${base}/overview`);
	await page.click("button:has-text('Sign out')");
	await page.waitForURL(/\/login/);
	assert.match(await text(page), /signed out/);
	await page.context().addCookies([kept]);
	await page.goto(`${base}/overview`);
	assert.equal(new URL(page.url()).pathname, "/login");
});

await test("the browser had nothing to complain about", () => assert.deepEqual(complaints, []));
await page.context().close();
