// Numbers, times and words for people.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const NONE = "–";

export function count(value) {
  return value === null || value === undefined ? NONE : whole.format(value);
}

export function short(value) {
  if (value === null || value === undefined) return NONE;
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(value) >= size) {
      const scaled = value / (unit === "k" ? 1e3 : size);
      return `${scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1)}${unit}`;
    }
  }
  return Number.isInteger(value) || value >= 100 ? whole.format(value) : value.toFixed(1);
}

export function rate(value) {
  return value === null || value === undefined ? NONE : value === 0 ? "0" : short(value);
}

export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 1) return `${(value * 1e3).toFixed(value < 0.01 ? 1 : 0)} ms`;
  return `${value.toFixed(value < 10 ? 1 : 0)} s`;
}

export function ago(then, now) {
  const passed = Math.max(0, Math.round(now - then));
  if (passed < 60) return `${passed} s`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  if (passed < 172800) return `${Math.floor(passed / 3600)} h`;
  return `${Math.floor(passed / 86400)} d`;
}

export function clock(then) {
  return new Date(then * 1000).toLocaleTimeString("en-GB");
}

export function plural(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
