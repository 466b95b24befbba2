// Elements from values. Text is only ever set as text: nothing here parses HTML.
// `patch` changes what is shown into what is wanted and keeps elements that stay,
// so that the focus, a selection and a scroll position survive an update.

const PROPERTIES = new Set(["value", "checked", "disabled", "open", "hidden", "indeterminate"]);

export function h(tag, props, ...children) {
  return { tag, props: props || {}, key: props ? props.key : undefined, children: flat(children) };
}

// A part that is built again only when one of `deps` is another one.
export function lazy(key, deps, build) {
  return { key, deps, build };
}

function flat(children) {
  return children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false);
}

export function patch(parent, ...children) {
  const wanted = flat(children);
  const keys = new Set(wanted.map((each) => each.key).filter((key) => key !== undefined));
  const kept = new Map();
  for (const node of [...parent.childNodes]) {
    if (node.ownKey === undefined) continue;
    if (keys.has(node.ownKey)) kept.set(node.ownKey, node);
    else node.remove();
  }
  let at = parent.firstChild;
  for (const want of wanted) {
    const node = place(parent, at, want, kept);
    at = node.nextSibling;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function place(parent, at, want, kept) {
  if (typeof want !== "object") return placeText(parent, at, String(want));
  let node = want.key !== undefined ? kept.get(want.key) : at;
  if (want.build) {
    if (node && same(node.deps, want.deps)) return moved(parent, at, node);
    const built = want.build();
    const made = placeElement(parent, at, { ...built, key: want.key }, node);
    made.deps = want.deps;
    return made;
  }
  if (node && want.key === undefined && node.ownKey !== undefined) node = null;
  return placeElement(parent, at, want, node);
}

// What a browser would obey or not show (controls, changes of direction, halves of
// characters) as an escape. Here, since an address goes back to the server as it is.
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]/gu;

export function visible(text) {
  return text.replace(UNSEEN, (c) =>
    c === "\n" || c === "\t" ? c : `\\u{${c.codePointAt(0).toString(16).padStart(4, "0")}}`);
}

function placeText(parent, at, raw) {
  const text = visible(raw);
  if (at && at.nodeType === Node.TEXT_NODE) {
    if (at.data !== text) at.data = text;
    return at;
  }
  const node = document.createTextNode(text);
  parent.insertBefore(node, at);
  return node;
}

function placeElement(parent, at, want, found) {
  let node = found;
  if (!node || node.nodeType !== Node.ELEMENT_NODE || node.ownTag !== want.tag) {
    node = document.createElement(want.tag);
    node.ownTag = want.tag;
    node.ownKey = want.key;
    node.ownProps = {};
  }
  moved(parent, at, node);
  setProps(node, want.props);
  if (!want.props.opaque) patch(node, want.children);
  return node;
}

function moved(parent, at, node) {
  if (node !== at) parent.insertBefore(node, at);
  return node;
}

function setProps(node, props) {
  const before = node.ownProps;
  for (const name of Object.keys(before)) if (!(name in props)) set(node, name, undefined);
  for (const [name, value] of Object.entries(props)) {
    if (name === "key" || name === "opaque") continue;
    if (before[name] !== value || PROPERTIES.has(name)) set(node, name, value);
  }
  node.ownProps = props;
}

function set(node, name, value) {
  if (name.startsWith("on")) node[name] = value || null;
  else if (PROPERTIES.has(name)) {
    const now = value === undefined ? false : value;
    if (node[name] !== now) node[name] = now;
  } else if (value === undefined || value === null || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : name === "title" ? visible(String(value)) : value);
}

function same(one, other) {
  return one !== undefined && one.length === other.length && one.every((each, i) => each === other[i]);
}
