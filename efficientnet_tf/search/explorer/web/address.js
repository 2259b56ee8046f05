"use strict";
// The settings in the page's address, after #: a copied link, a reload and the
// back button show the same network.

const DEFAULTS = { ...settings };
const ADDRESS_DELAY = 250;  // Milliseconds; browsers refuse hundreds of steps.

let waiting = null;  // The address that is not yet written, and its timer.
let lastSource = null;

// Returns the address of the settings; "" for the defaults.
function writeAddress() {
  // A published network's name says all but the axis.
  const { named, axis } = settings;
  const changed = named ? { named, axis } : settings;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(changed)) {
    if (value !== null && value !== DEFAULTS[name]) query.set(name, value);
  }
  return query.size ? `#${query}` : "";
}

// Returns [settings, faults]: what an address says, and what of it is nonsense.
function readAddress(hash) {
  const found = {};
  const faults = [];
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  for (const [name, text] of query) {
    const value = readSetting(name, text);
    if (value === null || name in found) faults.push(`${name}=${text}`);
    else found[name] = value;
  }
  const others = Object.keys(found).filter((name) =>
    name !== "named" && name !== "axis");
  if ("named" in found) {
    // Both would say what the network is.
    faults.push(...others.map((name) => `${name}=${query.get(name)}`));
    const { family, phi } = DATA.named[found.named];
    Object.assign(found, { family, phi });
  }
  const chosen = { ...DEFAULTS, ...found };
  if (!faults.length && makeVariant(chosen).resolution < DATA.min_resolution) {
    faults.push(...others.map((name) => `${name}=${query.get(name)}`));
  }
  return [chosen, faults];
}

// Returns a setting's value from its text, or null.
function readSetting(name, text) {
  const choices = { family: DATA.families, named: DATA.named, axis: COSTS };
  if (Object.hasOwn(choices, name)) {
    return Object.hasOwn(choices[name], text) ? text : null;
  }
  if (!Object.hasOwn(LIMITS, name) || !text.trim()) return null;
  const { low, high } = LIMITS[name];
  const value = Number(text);
  const whole = name !== "resolution" || Number.isInteger(value);
  return value >= low && value <= high && whole ? value : null;
}

// Shows the settings of the address. Nonsense gives the defaults and is told
// once: then the address is that of the defaults.
function followAddress() {
  clearTimeout(waiting?.timer);
  waiting = lastSource = null;
  const [chosen, faults] = readAddress(location.hash);
  Object.assign(settings, faults.length ? DEFAULTS : chosen);
  byId("address").textContent = faults.length
    ? `The address has what this page cannot show (${faults.join(", ")}), so `
      + "these are the defaults."
    : "";
  if (faults.length) history.replaceState(null, "", addressWith(""));
  show();
}

// Puts the settings into the address, as one step for the back button; all
// that is done to one field at a time is one step, too.
function rememberAddress(source) {
  const same = source !== null && source === lastSource;
  if (waiting && !same) saveAddress();
  clearTimeout(waiting?.timer);
  const replace = waiting ? waiting.replace : same;
  lastSource = source;
  waiting = { replace, address: writeAddress() };
  if (source === null) saveAddress();
  else waiting.timer = setTimeout(saveAddress, ADDRESS_DELAY);
}

function saveAddress() {
  clearTimeout(waiting.timer);
  const { replace, address } = waiting;
  waiting = null;
  if (location.hash === address) return;
  if (replace) history.replaceState(null, "", addressWith(address));
  else history.pushState(null, "", addressWith(address));
}

const addressWith = (hash) => location.href.split("#")[0] + hash;

window.addEventListener("popstate", followAddress);
// Leaving a field ends what one step back undoes.
document.addEventListener("focusout", () => { lastSource = null; });
window.addEventListener("pagehide", () => { if (waiting) saveAddress(); });
