// The way to the server: looks, questions, decisions.

const EVERY = 2000 // milliseconds
const SLOWEST = 15000
const PATIENCE = 12000

const room = document.getElementById('room')
export const base = room.dataset.base
export const actor = room.dataset.actor
export const mayAct = !room.dataset.whyNot

export class Refused extends Error {}

const token = () => (document.cookie.match(/(?:^|;\s*)_xsrf=([^;]*)/) ?? [])[1] ?? ''

async function answer(path, options = {}) {
  const ending = new AbortController()
  const timer = setTimeout(() => ending.abort(), options.patience ?? PATIENCE)
  let said
  try {
    const response = await fetch(base + path, { ...options, signal: ending.signal, cache: 'no-store' })
    said = await response.json().catch(() => ({ error: `the server answered ${response.status}` }))
    if (response.ok) return said
    if (response.status === 401) said.error = 'you are signed out: reload the page'
  } catch {
    throw new Error('no connection to Flower')
  } finally {
    clearTimeout(timer)
  }
  throw new Refused(said.error)
}

export const ask = (path, wanted = {}) => answer(`${path}?${new URLSearchParams(wanted)}`)

export const decide = (name, wish) =>
  answer(`/actions/${name}`, {
    method: 'POST',
    patience: 60000,
    headers: { 'Content-Type': 'application/json', 'X-XSRFToken': decodeURIComponent(token()) },
    body: JSON.stringify(wish),
  })

// Ask for `path` again and again. When the connection breaks, it is tried ever more slowly, and at once when somebody
// looks again; a page that nobody sees asks for nothing. `tell({age, problem})` hears how old what is shown is.
export function keepLooking(path, draw, tell, every = EVERY) {
  let timer, seen, problem
  let pause = every
  let busy = false

  async function look() {
    clearTimeout(timer)
    if (busy || document.hidden) return
    busy = true
    try {
      const looked = await answer(path)
      seen = Date.now()
      problem = undefined
      pause = every
      if (draw(looked) === 'enough') return
    } catch (error) {
      problem = error.message
      pause = Math.min(Math.max(SLOWEST, every), pause * 1.5)
      if (!(error instanceof Refused) && !/connection/.test(problem)) console.error(error)
    } finally {
      busy = false
      say()
    }
    timer = setTimeout(look, pause)
  }

  const say = () => tell({ age: seen && (Date.now() - seen) / 1000, problem })
  document.addEventListener('visibilitychange', look)
  addEventListener('online', look)
  setInterval(say, 1000)
  look()
  return look
}

export function tellLive(dot, label, shown, every = EVERY) {
  return ({ age, problem }) => {
    const old = age == null || age > 10 + every / 1000
    dot.className = `status-dot ${problem ? 'status-dot-error' : old ? '' : 'status-dot-live'}`
    const words = problem
      ? `${problem[0].toUpperCase()}${problem.slice(1)}${age == null ? '' : `; this is ${Math.round(age)} s old`}`
      : old
        ? 'Waiting for news…'
        : 'Live'
    if (label.textContent !== words) label.textContent = words
    shown.classList.toggle('room-old', !!problem && old)
  }
}
