/*
 * harness.mjs - what the browser tests share: one Chromium, TAP, and what every page must keep.
 *
 * Environment: LAB_DASHBOARD_URL LAB_DASHBOARD_USER LAB_DASHBOARD_PASSWORD (required; an admin), LAB_CTL, CHROMIUM (default
 * /usr/bin/chromium), WEB_SHOTS (a folder: screenshots are left there).
 */
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

export const base = (process.env.LAB_DASHBOARD_URL ?? "").replace(/\/$/, "");
export const user = process.env.LAB_DASHBOARD_USER, password = process.env.LAB_DASHBOARD_PASSWORD;
const shots = process.env.WEB_SHOTS;
if (!base || !user || !password) {
	console.log("Bail out! set LAB_DASHBOARD_URL, LAB_DASHBOARD_USER and LAB_DASHBOARD_PASSWORD");
	process.exit(1);
}
if (shots)
	mkdirSync(shots, { recursive: true });

const browser = await chromium.launch({
	executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
	args: ["--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync"],
});

/* --- a small harness ------------------------------------------------------------------------- */

let n = 0, failed = 0;
export const complaints = []; /* of the browser: console errors, exceptions, CSP violations, dialogs */

export async function test(title, run) {
	n++;
	try {
		await run();
		console.log(`ok ${n} - ${title}`);
	} catch (e) {
		failed++;
		console.log(`not ok ${n} - ${title}`);
		for (const line of String(e?.message ?? e).split("\n").slice(0, 30))
			console.log(`# ${line}`);
	}
}

function watch(page) {
	page.setDefaultTimeout(10000);
	page.on("console", m => { if (["error", "warning"].includes(m.type())) complaints.push(`${page.url()}: ${m.text()}`); });
	page.on("pageerror", e => complaints.push(`${page.url()}: ${e.message}`));
	page.on("dialog", d => { complaints.push(`${page.url()}: dialog ${d.message()}`); d.dismiss(); });
	page.on("request", r => { if (!r.url().startsWith(base)) complaints.push(`${page.url()}: asked for ${r.url()}`); });
}

export async function open(options = {}) {
	/* The lab's certificate is signed by a CA of its own that Chromium does not know; curl checks it in tests/lab. */
	const context = await browser.newContext({ ignoreHTTPSErrors: true, reducedMotion: "reduce", viewport: { width: 1440, height: 900 }, ...options });
	const page = await context.newPage();
	watch(page);
	return page;
}

export async function signIn(page, secret = password, name = user) {
	await page.goto(`${base}/login`);
	await page.fill("#user", name);
	await page.fill("#password", secret);
	await page.click("main button");
	await page.waitForLoadState();
}

export const text = page => page.locator("main").innerText();
export async function shot(page, name) {
	if (shots)
		await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
}

/* --- what every page must keep, looked at in the browser ---------------------------------------- */

export function audit() {
	const bad = [], all = s => [...document.querySelectorAll(s)];
	const once = (what, count) => { if (count !== 1) bad.push(`${count} ${what}`); };
	once("h1", all("h1").length);
	once("main", all("main").length);
	for (const e of all("input:not([type=hidden]), select, textarea"))
		if (!e.labels?.length && !e.getAttribute("aria-label"))
			bad.push(`no label: ${e.outerHTML}`);
	for (const e of all("button, a[href], summary"))
		if (!e.textContent.trim() && !e.getAttribute("aria-label"))
			bad.push(`no name: ${e.outerHTML}`);
	for (const e of all("table"))
		if (!e.querySelector("thead th[scope=col]") || !e.querySelector("tbody th[scope=row]"))
			bad.push("a table without row or column headers");
	for (const e of all("svg[role=img]"))
		if (!e.querySelector("title") || !e.querySelector("desc"))
			bad.push("a drawing without title or description");
	for (const e of all("form[method=post]"))
		if (!e.querySelector("input[name=csrf]")?.value)
			bad.push(`a form without its token: ${e.getAttribute("action")}`);
	for (const e of all("[style], style, script:not([src]), [onclick], [onload], [onerror]"))
		bad.push(`inline: ${e.outerHTML.slice(0, 80)}`);
	const ids = all("[id]").map(e => e.id);
	for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i)))
		bad.push(`id twice: ${id}`);
	if (document.documentElement.scrollWidth > innerWidth + 1)
		bad.push(`wider than the window by ${document.documentElement.scrollWidth - innerWidth}`);
	return bad;
}

/* WCAG 1.4.3: text against the colour behind it. */
export function contrast() {
	const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
	const rgba = colour => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = colour;
		canvas.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
		return { c: [r, g, b], a: a / 255 };
	};
	const over = (top, under, a) => top.map((v, i) => v * a + under[i] * (1 - a));
	const light = c => c.map(v => v / 255).map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
		.reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = e => {
		if (!e)
			return [255, 255, 255];
		const b = rgba(getComputedStyle(e).backgroundColor);
		return b.a === 1 ? b.c : over(b.c, behind(e.parentElement), b.a);
	};
	const bad = new Set();
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement, s = getComputedStyle(e);
		if (!walk.currentNode.data.trim() || e.closest("svg, .sr, .skip, option, datalist") || !e.checkVisibility())
			continue;
		const back = behind(e), fore = rgba(s.color);
		const [x, y] = [light(over(fore.c, back, fore.a)), light(back)].sort((p, q) => q - p);
		const ratio = (x + 0.05) / (y + 0.05), px = parseFloat(s.fontSize);
		if (ratio < (px >= 24 || (px >= 18.66 && s.fontWeight >= 700) ? 3 : 4.5))
			bad.add(`${ratio.toFixed(2)} ${e.className || e.tagName}: ${walk.currentNode.data.trim().slice(0, 30)}`);
	}
	return [...bad];
}

/* Prints the plan and ends. */
export async function finish() {
	await browser.close();
	console.log(`1..${n}`);
	process.exit(failed ? 1 : 0);
}
