/*
 * operator.mjs - what an operator comes for, from the first look to the end of it. One flow a test.
 *
 * Environment: harness.mjs's; the lab is filled by tests/lab/sample and tests/web/fill.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import assert from "node:assert/strict";
import { audit, base, complaints, contrast, open, shot, signIn, test, text } from "./harness.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const ctl = (...args) => execFileSync(process.env.LAB_CTL, args, { encoding: "utf8" });
const json = (...args) => JSON.parse(ctl(...args, "--json"));
const slow = "user08@isp.example";
const go = (page, path) => page.goto(base + path);
const reads = async (page, re) => assert.match(await text(page), re);
const done = page => page.locator("[role=status]").first().innerText();

const page = await open();
await signIn(page);

/* --- who must be able to use it ---------------------------------------------------------------- */

await test("axe finds nothing serious on any page, on a telephone in the light and at a desk in the dark", async () => {
	const incident = json("incident", "list")[0].id, exemption = json("exempt", "list")[0].id, report = json("report", "list")[0].id;
	const message = ctl("queue", "list", "--json").match(/"id": "(\w+)"/)[1];
	const paths = ["/overview", "/incidents", `/incidents/${incident}`, "/reports", `/reports/${report}`, "/exemptions", `/exemptions/${exemption}`,
		"/limits", "/alerts", "/alerts/1", "/who", `/who?q=${slow}`, "/who?q=192.0.2.10", "/who?q=192.0.2.0/24", "/who?q=S-77",
		`/messages?id=${message}`, "/queue", "/queue?state=held&younger=1d", "/queue/act?do=delete", "/audit", "/nothing"];
	const bad = [];
	for (const [width, height, colorScheme] of [[360, 740, "light"], [768, 1024, "light"], [1440, 900, "dark"]]) {
		await page.setViewportSize({ width, height });
		await page.emulateMedia({ colorScheme });
		for (const path of paths) {
			await go(page, path);
			const found = [...await page.evaluate(audit), ...await page.evaluate(contrast)];
			if (width !== 768) {
				await page.evaluate(axe);
				found.push(...await page.evaluate(async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
					.filter(v => ["serious", "critical"].includes(v.impact)).map(v => `${v.id}: ${v.nodes[0].html.slice(0, 120)}`)));
			}
			bad.push(...found.map(f => `${width} ${path}: ${f}`));
			await shot(page, `${path.slice(1).replace(/[^a-z0-9]+/gi, "-")}-${width}-${colorScheme}`);
		}
	}
	await page.setViewportSize({ width: 1440, height: 900 });
	await page.emulateMedia({ colorScheme: "light" });
	complaints.length = 0; /* the browser reports the 404 of /nothing */
	assert.deepEqual(bad, []);
});

/* --- alerts -------------------------------------------------------------------------------------- */

await test("alerts: which arrived, which did not and why, without what is secret in a URL", async () => {
	await go(page, "/alerts");
	assert.match(await page.locator("[role=alert]").innerText(), /Some alerts do not arrive.*198\.51\.100\.25/);
	await reads(page, /sent[\s\S]*abuse@example\.net[\s\S]*250 2\.0\.0/);
	await reads(page, /retrying|waiting/);
	await reads(page, /https:\/\/198\.51\.100\.25:9\/…/);
	assert.ok(!(await page.content()).includes("not-to-be-shown"));
	await page.fill("#about", "desk");
	await page.click("form[action='/alerts'] button");
	await page.waitForURL(/about=desk/);
	assert.ok(await page.locator("tbody tr").count() > 0);
	assert.equal(await page.locator("tbody tr", { hasText: "https://" }).count(), 0);
	await page.fill("#about", "no such group");
	await page.click("form[action='/alerts'] button");
	await page.waitForURL(/about=no/);
	await reads(page, /None is like that/);
});

await test("an alert shows cause, evidence and what next, and leads to its incident, which is taken over there", async () => {
	const id = json("incident", "list").find(i => i.subject === slow).id;
	const alert = json("alert", "list").filter(a => a.title.includes(slow)).at(-1);
	assert.ok(alert, "nobody was told of the slowed account");
	await go(page, "/alerts");
	await page.locator(`a[href='/alerts/${alert.alert}']`).first().click();
	await page.waitForURL(/\/alerts\/\d+$/);
	await reads(page, /slowed down/);
	await reads(page, /Signals[\s\S]*\(\+\d+\)/);
	await reads(page, /Next[\s\S]*sekishoctl incident/);
	await page.locator(`form[action='/incidents/${id}/ack'] button`).click();
	await page.waitForURL(new RegExp(`/incidents/${id}\\?done=ack`));
	assert.match(await done(page), /Acknowledged/);
	assert.equal(json("incident", "show", String(id)).state, "acknowledged");
});

await test("a test of the ways out shows what each receiver answered, and that a group is not there", async () => {
	await go(page, "/alerts");
	await page.fill("#f-name", "desk");
	await page.click("button:has-text('Send a test')");
	await page.waitForURL(/\/alerts\/test$/);
	assert.match(await page.locator("section", { hasText: "What the receivers answered" }).first().innerText(), /desk[\s\S]*sent[\s\S]*250/);
	complaints.length = 0;
	await page.fill("#f-name", "nobody");
	await page.click("button:has-text('Send a test')");
	await page.waitForSelector("[role=alert] >> text=Not done");
	assert.match(await page.locator("[role=alert]", { hasText: "Not done" }).innerText(), /no alert nobody/);
	complaints.length = 0; /* the browser reports the 404 of that page */
});

await test("an alert that did not arrive is sent again by hand, with a row in the audit trail", async () => {
	const row = json("alert", "list").find(a => a.state === "waiting" && a.attempts > 0);
	assert.ok(row, "every alert arrived");
	await go(page, `/alerts/${row.alert}`);
	await page.locator("li", { hasText: "https://" }).locator("button:has-text('Send again')").click();
	await page.waitForURL(/done=resend/);
	assert.match(await done(page), /being sent again/);
	assert.ok(json("audit", "list", "--about", "alert.resend").some(a => a.object === `alert send ${row.id}`));
	const until = Date.now() + 20000;
	const attempts = () => json("alert", "list").find(a => a.id === row.id).attempts;
	while (attempts() <= row.attempts && Date.now() < until)
		await new Promise(r => setTimeout(r, 100));
	assert.ok(attempts() > row.attempts, "nothing was tried");
	const arrived = json("alert", "list").find(a => a.state === "sent");
	await go(page, `/alerts/${arrived.alert}`);
	assert.equal(await page.locator("li", { hasText: arrived.to }).locator("button").count(), 0);
	assert.throws(() => execFileSync(process.env.LAB_CTL, ["alert", "resend", String(arrived.id)], { stdio: "pipe" }), /has arrived/);
});

/* --- the queue ----------------------------------------------------------------------------------- */

const queued = (...args) => JSON.parse(execFileSync("sh", ["-c", '"$@" || true', "sh", process.env.LAB_CTL, "queue", "list", ...args, "--json"],
	{ encoding: "utf8" })).messages;
const number = async l => Number((await l.innerText()).replace(/\D/g, ""));

await test("the queue: where to and whose, by age; a count leads to its messages", async () => {
	await go(page, "/queue");
	const all = queued();
	const grid = name => page.locator("section", { hasText: name }).first();
	assert.equal(await number(grid("Senders by age").locator("tbody tr").first().locator("td").first()), all.length);
	const row = grid("Destinations by age").locator("tbody tr").nth(1), domain = await row.locator("th").innerText();
	const rcpts = queued("--destination", domain).length;
	assert.ok(rcpts > 0);
	await row.locator("td a").first().click();
	await page.waitForURL(u => u.searchParams.get("domain") === domain);
	await reads(page, /Messages like that/);
	await page.selectOption("#p-state", "held");
	await page.fill("#p-reason", "no such words");
	await page.click("form[action='/queue'] button");
	await page.waitForURL(/reason=no/);
	await reads(page, /No message is like that/);
	await go(page, "/queue?older=7q");
	await reads(page, /nothing is called "7q"/);
	complaints.length = 0; /* the browser reports the 422 of that page */
});

await test("what is done with messages is counted first, wants a reason, and is in the audit trail", async () => {
	const from = queued()[0].account, n = queued("--account", from).length;
	await go(page, `/queue?account=${from}`);
	await page.click("a.button:has-text('Hold …')");
	await page.waitForURL(/\/queue\/act/);
	assert.match(await page.locator("#count").innerText(), new RegExp(`Hold ${n} messages?\\?`));
	await page.evaluate(() => document.querySelector("#f-note").removeAttribute("required"));
	await page.click("form[action='/queue/act'] button");
	await page.waitForSelector("[role=alert]");
	assert.match(await page.locator("[role=alert]").innerText(), /Say why/);
	complaints.length = 0; /* the browser reports the 422 of that page */
	await page.fill("#f-note", "looks like a run");
	await page.keyboard.press("Enter");
	await page.waitForURL(/done=hold/);
	assert.match(await done(page), new RegExp(`Held: ${n} message`));
	const row = json("audit", "list", "--about", "queue.hold")[0];
	assert.deepEqual([row.reason, row.object], ["looks like a run", from]);
	await page.click("a.button:has-text('Hold …')");
	await reads(page, /there is nothing to hold about/);
	await go(page, `/queue/act?do=release&account=${from}`);
	await page.fill("#f-note", "was none");
	await page.click("form[action='/queue/act'] button");
	await page.waitForURL(/done=release/);
	assert.match(await done(page), new RegExp(`Released: ${n} message`));
});

await test("one message: its recipients, their states and last replies, its headers; it alone is deleted", async () => {
	const all = queued(), one = all.at(-1);
	await go(page, "/queue");
	await go(page, `/messages?id=${one.id}`);
	const show = json("queue", "show", one.id);
	for (const r of show.recipients)
		await reads(page, new RegExp(r.address.replace(/\W/g, "\\$&")));
	await page.click("summary:has-text('Headers')");
	assert.match(await page.locator("pre.mail").innerText(), /Received:/);
	await page.click("a.button:has-text('Delete …')");
	await page.waitForURL(/\/queue\/act/);
	assert.match(await page.locator("#count").innerText(), /Delete 1 message\?/);
	await page.fill("#f-note", "asked for by its owner");
	await page.click("button.danger");
	await page.waitForURL(/done=delete/);
	assert.deepEqual(queued().map(m => m.id), all.filter(m => m.id !== one.id).map(m => m.id));
});

await test("sekisho-msad away is a state of the queue's page, in words", async () => {
	const pid = Number(readFileSync(`${process.env.LAB_STATE}/../run/msad.pid`, "utf8"));
	process.kill(pid, "SIGSTOP");
	try {
		await go(page, "/queue");
		assert.match(await page.locator("[role=alert]").innerText(), /The queue cannot be asked now: sekisho-msad does not answer[\s\S]*safe on the disk/);
	} finally {
		process.kill(pid, "SIGCONT");
	}
	const until = Date.now() + 20000;
	do
		await go(page, "/queue");
	while (!await page.locator("#list").count() && Date.now() < until);
	assert.equal(await page.locator("#list").count(), 1);
	assert.deepEqual(complaints.splice(0), []);
});

/* --- limits and the detector --------------------------------------------------------------------- */

await test("a limit of its own: a wrong number is refused and kept, a right one holds and is taken away again", async () => {
	const limit = () => json("limit", "show", slow).limits.find(l => l.name === "recipients-1d");
	await go(page, `/who?q=${slow}`);
	await reads(page, /Bites first: \w+ per \w+/);
	await page.click("summary:has-text('Give it a limit of its own')");
	await page.selectOption("#f-name", "recipients-1d");
	await page.fill("#f-limit", "0");
	await page.fill("#f-reason", "ticket <4711>");
	await page.click("button:text-is('Set')");
	await page.waitForSelector("[role=alert]");
	assert.match(await page.locator("[role=alert]").innerText(), /whole number above 0/);
	assert.deepEqual([await page.inputValue("#f-name"), await page.inputValue("#f-limit"), await page.inputValue("#f-reason")],
		["recipients-1d", "0", "ticket <4711>"]);
	complaints.length = 0; /* the browser reports the 422 of that page */
	await page.fill("#f-limit", "5000");
	await page.click("button:text-is('Set')");
	await page.waitForURL(/done=set/);
	assert.match(await page.locator("tr", { hasText: "recipients-1d" }).innerText(), /Exception by \S+, until [\d-]+ [\d:]+: ticket <4711>[\s\S]*5,000/);
	assert.equal(limit().limit, 5000);
	await go(page, "/limits");
	const row = page.locator("tr", { hasText: slow });
	await row.locator("summary").click();
	await row.locator("input[name=reason]").fill("done with it");
	await row.locator("button").click();
	await page.waitForURL(/done=unset/);
	assert.equal(limit().override, false);
	assert.ok(json("audit", "list", "--about", slow).some(a => a.action === "limit.set" && a.reason === "done with it"));
});

await test("counters are reset with one click", async () => {
	await go(page, `/who?q=${slow}`);
	const used = () => page.locator("tr", { hasText: "recipients-1d" }).locator("td").first().innerText();
	assert.ok(Number(await used()) > 0, "nothing was used");
	await page.click("button:has-text('Reset the counters')");
	await page.waitForURL(/done=reset/);
	assert.equal(Number(await used()), 0);
});

await test("a throttled account says what raised its score and what ends it, and is released with the keyboard alone, as a false positive", async () => {
	await go(page, `/who?q=${slow}`);
	await reads(page, /Now[\s▮]+throttled since/);
	await reads(page, /Score of the detector: \d+[\s\S]*\(\+\d+\)[\s\S]*It ends: /);
	await page.focus("#r-release");
	await page.keyboard.type("its yearly invitation");
	await page.keyboard.press("Tab");
	assert.equal(await page.evaluate(() => document.activeElement.name), "mistake");
	await page.keyboard.press("Space");
	await page.keyboard.press("Tab");
	const focus = await page.evaluate(() => [document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle]);
	assert.deepEqual(focus, ["Release", "solid"]);
	await page.keyboard.press("Enter");
	await page.waitForURL(/\/incidents\/\d+\?done=release/);
	assert.match(await page.locator(".timeline").innerText(), /released[\s\S]*its yearly invitation/);
	assert.equal(json("limit", "show", slow).stage, "normal");
	await go(page, `/who?q=${slow}`);
	await reads(page, /Now[\s✓]+normal/);
	assert.equal(await page.locator("#r-release").count(), 0);
});

await test("the way back after a change shows the page before it, and changes nothing again", async () => {
	await go(page, `/who?q=${slow}`);
	await page.click("button:has-text('Reset the counters')");
	await page.waitForURL(/done=reset/);
	const changes = () => json("audit", "list", "--about", "limit.reset").length, before = changes();
	await page.goBack();
	assert.equal(new URL(page.url()).search, `?q=${slow}`);
	await page.goForward();
	await page.reload();
	assert.equal(changes(), before);
});

/* --- finding ------------------------------------------------------------------------------------- */

await test("queue id, Message-ID, number, name, address and port, prefix: each leads to the subscriber", async () => {
	await go(page, "/who?q=<invitation-1@kobe.example>");
	await page.waitForURL(/\/messages\?id=/);
	const id = new URL(page.url()).searchParams.get("id");
	await reads(page, /invitation-1@kobe\.example/);
	await reads(page, /What mail servers answered/);
	for (const q of [id, "invitation-1@kobe.example"]) {
		await go(page, `/who?q=${q}`);
		assert.equal(new URL(page.url()).searchParams.get("id"), id, q);
	}
	await page.locator("main dd a", { hasText: slow }).click();
	await page.waitForURL(/\/who\?q=user08/);
	for (const q of ["S-77", "kerei", "100.64.20.5:1500", "2001:db8:7700:5::1", "2001:db8:7700::/40", slow]) {
		await page.fill("#find", q);
		await page.press("#find", "Enter");
		await page.waitForURL(u => u.searchParams.get("q") === q);
		await page.locator("main a.ref", { hasText: "S-77" }).first().click();
		await page.waitForURL(/\/who\?q=S-77$/);
		await reads(page, /Bāckerei <i>& Co<\/i>[\s\S]*user08@isp\.example[\s\S]*1024–2047/);
	}
	await go(page, "/who?q=100.64.20.5&port=40000");
	await reads(page, /no lease on record/);
	await go(page, "/who?q=nobody@isp.example");
	await reads(page, /nobody has seen this account/);
	await go(page, "/who?q=something else");
	await reads(page, /Nothing is known by that name/);
});

await test("a long list is paged; what is added meanwhile neither repeats nor hides a row", async () => {
	const rows = () => page.locator("tbody th a").allInnerTexts();
	await go(page, "/exemptions");
	const seen = await rows();
	ctl("exempt", "add", "198.19.0.1", "--reason", "in between");
	while (await page.locator("a[rel=next]").count()) {
		await page.click("a[rel=next]");
		await page.waitForURL(/before=\d+/);
		seen.push(...await rows());
	}
	assert.equal(new Set(seen).size, seen.length, "a row came twice");
	assert.equal(seen.length, json("exempt", "list").length - 1);
	await page.click("a:has-text('Newest')");
	await page.waitForURL(u => !u.search);
	assert.equal((await rows())[0], "198.19.0.1");
	ctl("exempt", "remove", "198.19.0.1");
});

/* --- sessions and roles -------------------------------------------------------------------------- */

await test("a form of a session that has ended, or of another one, says so and changes nothing", async () => {
	const other = await open();
	await signIn(other);
	await go(other, `/who?q=${slow}`);
	await other.fill("#r-hold", "too late");
	const first = await other.context().cookies();
	await other.context().clearCookies();
	await other.click("button:has-text('Hold its mail')");
	await other.waitForURL(/\/login/);
	await reads(other, /session has ended, so the change was not made/);
	await signIn(other); /* another session, and the form of the first */
	const answer = await other.context().request.post(`${base}/accounts/hold`, { form: { account: slow, reason: "forged", csrf: "0".repeat(32) } });
	assert.equal(answer.status(), 403);
	assert.match(await answer.text(), /That form is out of date[\s\S]*Nothing was changed/);
	assert.ok(first.length > 0);
	assert.equal(json("limit", "show", slow).stage, "normal");
	await other.context().close();
});

await test("who may only look sees no form, and is refused one", async () => {
	execFileSync(process.env.LAB_CTL, ["operator", "add", "looker", "--role", "viewer", "--password-stdin"], { input: "only-looking-1\n" });
	const looker = await open();
	await signIn(looker, "only-looking-1", "looker");
	for (const path of [`/who?q=${slow}`, "/limits", "/alerts", "/queue", "/exemptions", "/incidents/1", "/reports"]) {
		await go(looker, path);
		assert.equal(await looker.locator("main form[method=post]").count(), 0, path);
	}
	await go(looker, "/queue");
	assert.equal(await looker.locator("a[href^='/queue/act']").count(), 0);
	await go(looker, "/queue/act?do=delete");
	await reads(looker, /Your role does not allow that/);
	complaints.length = 0; /* the browser reports the 403 of that page */
	const csrf = await looker.locator("form[action='/logout'] input[name=csrf]").inputValue();
	for (const [path, form] of [["/limits/reset", { account: slow }], ["/alerts/test", {}], ["/alerts/1/resend", { send: "1" }],
		["/queue/act", { do: "delete", note: "no", seen: "1" }], ["/accounts/release", { account: slow, reason: "no" }]])
		assert.equal((await looker.context().request.post(base + path, { form: { ...form, csrf } })).status(), 403, path);
	await looker.context().close();
	ctl("operator", "remove", "looker");
});

await test("nothing of that made the browser complain", () => assert.deepEqual(complaints.splice(0), []));
await page.context().close();
