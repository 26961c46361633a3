/**
 * Choices of the reader that outlive the page: the theme, whether keys are on.
 *
 * In cookies, not in local storage: the server makes a page in the chosen theme at once, and a
 * viewer that comes up on another port of the same host knows the choice too.
 */
const YEAR_S = 365 * 24 * 3600;

export function remembered(name: string): string | null {
  for (const part of document.cookie.split(";")) {
    const [key, value] = part.trim().split("=", 2);
    if (key === name) return value ?? "";
  }
  return null;
}

/** Keep a word made of letters; null forgets it. */
export function remember(name: string, value: string | null): void {
  const age_s = value === null ? 0 : YEAR_S;
  document.cookie = `${name}=${value ?? ""}; path=/; max-age=${age_s}; samesite=strict`;
}
