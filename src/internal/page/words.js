// Numbers and times as people read them.

const whole = new Intl.NumberFormat('en');
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** `12,345`. */
export const number = (value) => whole.format(value ?? 0);

/** Three digits, none of them idle. */
const brief = (value) => (value >= 100 ? String(Math.round(value)) : value.toFixed(1).replace(/\.0$/, ''));

/** A rate: few digits, none of them idle. */
export function rate(value) {
  if (value === null || value === undefined) return '–';
  if (value >= 1000) return compact.format(value);
  return brief(value);
}

/** `48.2 MB`. */
export function bytes(value) {
  if (value === null || value === undefined) return '–';
  const units = ['B', 'KB', 'MB', 'GB'];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${brief(value)} ${units[unit]}`;
}

/** Microseconds: `840 µs`, `1.2 ms`. */
export function micros(value) {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '0';
  if (value < 1000) return `${brief(value)} µs`;
  return value < 1_000_000 ? `${brief(value / 1000)} ms` : `${brief(value / 1_000_000)} s`;
}

/** A share as a percentage; what is there but small does not become nothing. */
export function percent(share) {
  if (share === null || share === undefined) return '–';
  const value = share * 100;
  if (value > 0 && value < 0.1) return '<0.1%';
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toFixed(1)}%`;
}

/** Seconds: `3 d 4 h`, `12 min`, `8 s`. */
export function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long ago a moment is, or how far ahead. */
export const ago = (time) => span((Date.now() - Date.parse(time)) / 1000);
export const ahead = (time) => span((Date.parse(time) - Date.now()) / 1000);

/** The time of day. */
export const clock = (time) => new Date(time).toLocaleTimeString('en-GB');

/** Day and time. */
export const moment = (time) => new Date(time).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

/** `one`, or `several` of the same with their number. */
export const counted = (count, one, several = `${one}s`) => `${number(count)} ${count === 1 ? one : several}`;
