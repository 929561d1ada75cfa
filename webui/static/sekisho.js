/*
 * sekisho.js - comfort only: every page works without it.
 * Shows a time's local value on hover, keeps an untouched overview fresh, and closes one open "Remove" when another opens.
 */
"use strict";

for (const t of document.querySelectorAll("time[datetime]")) {
	const d = new Date(t.getAttribute("datetime"));
	if (!Number.isNaN(d.valueOf()))
		t.title = d.toISOString().replace("T", " ").replace(".000Z", " UTC") + "\n" + d.toLocaleString() + " here";
}

const pops = document.querySelectorAll("details.pop");
for (const p of pops)
	p.addEventListener("toggle", () => {
		if (p.open)
			for (const other of pops)
				if (other !== p)
					other.open = false;
	});

/* The overview is read from a wall or a second screen: fetch it again each minute while nobody works on it. */
if (location.pathname === "/overview") {
	let touched = false;
	for (const kind of ["input", "keydown", "pointerdown"])
		document.addEventListener(kind, () => { touched = true; }, { passive: true });
	setInterval(() => {
		const open = document.querySelector("details[open]");
		if (!touched && !open && document.visibilityState === "visible" && !document.getSelection().toString())
			location.reload();
		touched = false;
	}, 60000);
}
