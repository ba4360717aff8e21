// Building and updating the page. Every text goes in as text: what partners and people wrote is never markup.

const SVG = 'http://www.w3.org/2000/svg'

export function h(tag, attributes = {}, ...children) {
  return assemble(document.createElement(tag), attributes, children)
}

export function s(tag, attributes = {}, ...children) {
  return assemble(document.createElementNS(SVG, tag), attributes, children)
}

function assemble(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else if (value === true) node.setAttribute(name, '')
    else if (value !== false && value != null) node.setAttribute(name, value)
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false))
  return node
}

export function icon(name) {
  return s('svg', { class: 'room-icon', 'aria-hidden': 'true' }, s('use', { href: `#room-icon-${name}` }))
}

export const byId = (id) => document.getElementById(id)

// Only what differs is touched, so that a screen reader and a selection are left in peace.
export function text(node, value) {
  const wanted = String(value ?? '')
  if (node.textContent !== wanted) node.textContent = wanted
}

export function show(node, wanted) {
  if (node.hidden === !!wanted) node.hidden = !wanted
}

// Bring the children of `parent` in line with `items`. A child made by `make` has `update(item)`; it stays the same
// as long as its key is there, with its focus.
export function list(parent, items, keyOf, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]))
  let place = parent.firstElementChild
  for (const item of items) {
    const key = String(keyOf(item))
    let child = known.get(key)
    if (child) known.delete(key)
    else {
      child = make(item)
      child.dataset.key = key
    }
    child.update?.(item)
    if (child === place) place = place.nextElementSibling
    else parent.insertBefore(child, place)
  }
  for (const child of known.values()) child.remove()
}
