const KEY = "turnpike-device";
const TOKEN = /^[A-Za-z0-9_-]{22}$/;

/** The secret that this browser keeps, so that blocks and bans know it again; none where the browser keeps nothing. */
export function deviceToken(): { device?: string } {
  try {
    const known = localStorage.getItem(KEY);
    if (known !== null && TOKEN.test(known)) return { device: known };
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const device = btoa(String.fromCharCode(...bytes))
      .replaceAll("+", "-")
      .replaceAll("/", "_")
      .slice(0, 22);
    localStorage.setItem(KEY, device);
    return { device };
  } catch {
    return {};
  }
}
