// The dialogs in which somebody decides: what, how, how long, why, and what it touches, before the button.

import { byId, h, icon } from './dom.js'
import { clock, scope as saidScope, sentence } from './say.js'
import { actor, ask, decide } from './wire.js'

const dialog = byId('dialog')
const modes = JSON.parse(byId('room').dataset.modes || '{}')
let opener
let openIncidents = () => []

export const knowIncidents = (ask) => (openIncidents = ask)

const THEN = [['then little by little', 'ramp'], ['then all at once', 'lift']]
const LENGTHS = [['30 minutes', 1800], ['2 hours', 7200], ['4 hours', 14400], ['12 hours', 43200], ['2 days', 172800], ['until somebody lifts it', '']]

// ── the parts of a form ────────────────────────────────────────────────────────────────────────────────────────

let nth = 0
const id = () => `room-field-${(nth += 1)}`

function field(label, control, hint) {
  control.id ||= id()
  return h('div', { class: 'room-field' }, h('label', { for: control.id, class: 'form-label' }, label), control, hint && h('p', { class: 'form-text' }, hint))
}

const select = (name, options, chosen, label) =>
  h('select', { name, class: 'form-select', 'aria-label': label }, options.map(([words, value]) => h('option', { value, selected: value === chosen }, words)))

// A part of the budget: a slider, and the number that it stands at.
function share(name, at) {
  const number = h('output', { class: 'room-slider-number' }, `${at} %`)
  const slider = h('input', { type: 'range', name, class: 'form-range', min: 1, max: 99, value: at, 'aria-label': 'Percent of the budget', 'aria-valuetext': `${at} %` })
  slider.addEventListener('input', () => {
    number.textContent = `${slider.value} %`
    slider.setAttribute('aria-valuetext', `${slider.value} %`)
  })
  return h('div', { class: 'room-slider' }, slider, number)
}

const reason = (hint) =>
  field('Why', h('input', { name: 'reason', class: 'form-control', required: true, minlength: 3, maxlength: 500, autocomplete: 'off', placeholder: hint }), 'Whoever asks why an operation waits reads this.')

// How long it lasts, and what comes then.
function length() {
  const then = select('at_end', THEN, 'ramp', 'What comes then')
  const lasts = select('for_seconds', LENGTHS, 7200)
  lasts.addEventListener('change', () => (then.hidden = !lasts.value))
  const both = field('How long', lasts)
  both.append(then)
  return both
}

const MODES = {
  hold: ['Hold', 'They wait; none is lost.'],
  slow: ['Slow down', 'They share this part of the budget.'],
  drain: ['Drain', 'What has begun is finished, nothing new begins.'],
  probe: ['Probe', 'Single calls go, now and then, to see whether it works.'],
  reject: ['Reject', 'New ones are refused, and the Hub hears why.'],
  drop: ['Drop', 'They are cancelled: something later does the same work.'],
}

// What a kind cannot bear is not offered; other scopes are checked by the server, which says why.
function manner(scope) {
  const borne = modes[scope?.replace(/^queue:|^partner:.*\//, '')]
  const offered = Object.keys(MODES).filter((mode) => mode === 'slow' || !borne || borne.includes(mode))
  const mode = select('mode', offered.map((one) => [MODES[one][0], one]), 'hold')
  const hint = h('p', { class: 'form-text', role: 'status' })
  const part = share('percent', 10)
  const sure = h('label', { class: 'room-sure' }, h('input', { type: 'checkbox', class: 'form-check-input', name: 'sure' }), ' Yes, cancel what waits, now and until this is lifted')
  const adjust = () => {
    hint.textContent = MODES[mode.value][1]
    part.hidden = mode.value !== 'slow'
    sure.hidden = mode.value !== 'drop'
    sure.querySelector('input').required = mode.value === 'drop'
  }
  mode.addEventListener('change', adjust)
  adjust()
  const all = field('What becomes of operations', mode)
  all.append(hint, part, sure)
  return all
}

function incident() {
  const open = openIncidents()
  if (!open.length) return null
  const choices = [['no incident', ''], ...open.map((one) => [`incident ${one.id}: ${one.title}`, one.id])]
  return field('Belongs to', select('incident', choices, open[0].id))
}

const notice = () =>
  h('details', { class: 'room-field' }, h('summary', {}, 'A notice for customers'), h('textarea', { name: 'notice', class: 'form-control', rows: 2, maxlength: 500, 'aria-label': 'Notice for customers', placeholder: 'Please use Meta Business Manager meanwhile.' }))

// ── the dialog ─────────────────────────────────────────────────────────────────────────────────────────────────

function open({ title, about, fields, verb, danger, name, wish, preview, done }) {
  opener = document.activeElement
  const touched = h('div', { class: 'room-preview', role: 'status', 'aria-live': 'polite' })
  const problem = h('p', { class: 'room-problem', role: 'alert', hidden: true })
  const go = h('button', { type: 'submit', class: `btn ${danger ? 'btn-danger' : 'btn-primary'}` }, verb)
  const form = h(
    'form',
    { novalidate: true },
    h('h2', { id: 'dialog-title' }, title),
    about && h('p', { class: 'room-facts' }, about),
    fields,
    touched,
    problem,
    h('div', { class: 'room-dialog-buttons' }, h('button', { type: 'button', class: 'btn btn-outline-secondary', onclick: () => dialog.close() }, 'Cancel'), go),
    h('p', { class: 'room-facts room-by' }, `It will be recorded as decided by ${actor}.`),
  )
  const wanted = () => wish(Object.fromEntries(new FormData(form)))
  const look = previewing(touched, () => preview?.(wanted()))
  form.addEventListener('change', look)
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    if (!form.reportValidity()) return
    go.disabled = true
    problem.hidden = true
    try {
      const said = await decide(name, wanted())
      dialog.close()
      done(said)
    } catch (error) {
      problem.textContent = sentence(error.message)
      problem.hidden = false
    } finally {
      go.disabled = false
    }
  })
  dialog.replaceChildren(form)
  dialog.showModal()
  look()
  ;(form.querySelector('input[name=name]') ?? form.querySelector('[name=reason]')).focus()
}

dialog.addEventListener('close', () => opener?.isConnected && opener.focus())

// Ask what it touches whenever something was changed; only the newest answer counts.
function previewing(node, wanted) {
  let newest = 0
  return async () => {
    const mine = (newest += 1)
    const about = wanted()
    if (!about) return
    try {
      const told = await ask('/preview', about)
      if (mine === newest) node.replaceChildren(...told.sentences.map((one) => h('p', {}, sentence(one))))
    } catch (error) {
      if (mine === newest) node.replaceChildren(h('p', {}, icon('warn'), ` What it touches cannot be said: ${error.message}`))
    }
  }
}

// ── what can be decided ────────────────────────────────────────────────────────────────────────────────────────

const numberOf = (value) => (value ? Number(value) : null)

function pausing(scopeOf, { scope, ...more }) {
  const slow = (form) => form.mode === 'slow'
  open({
    verb: 'Pause',
    danger: true,
    name: 'pause',
    wish: (form) => ({
      scope: scopeOf(form),
      reason: form.reason,
      for_seconds: numberOf(form.for_seconds),
      at_end: form.at_end,
      mode: slow(form) ? 'hold' : form.mode,
      percent: slow(form) ? numberOf(form.percent) : null,
      incident: numberOf(form.incident),
      notice: form.notice || null,
    }),
    preview: (wish) => (/^all$|:./.test(wish.scope) ? { scope: wish.scope, mode: wish.mode, percent: wish.percent ?? '' } : null),
    ...more,
    fields: [more.fields, reason(more.because), manner(scope), length(), incident(), notice()],
  })
}

export function openPause(scope, done) {
  pausing(() => scope, {
    scope,
    title: `Pause ${saidScope(scope)}`,
    about: 'Running operations stop between two calls and keep their place. Nothing is lost; the Hub can go on enqueueing.',
    because: 'Meta’s limit is hit',
    done,
  })
}

export function openHold({ partner, queues }, done) {
  const whole = [`everything of ${partner}`, `partner:${partner}`]
  const one = Object.keys(queues).map((queue) => [`only ${queue} of ${partner}`, `partner:${partner}/${queue}`])
  pausing((form) => form.what, {
    title: `Hold partner ${partner}`,
    about: 'Its operations wait; none is lost. Other partners are not touched.',
    fields: [field('What', select('what', [...one, whole], one[0]?.[1]))],
    because: 'it uses up what the others need',
    verb: 'Hold',
    done,
  })
}

const SCOPES = [['a partner, or PARTNER/QUEUE', 'partner'], ['a queue', 'queue'], ['a WABA', 'waba'], ['a number', 'number'], ['a capability', 'capability'], ['an app', 'app'], ['everything', 'all']]

export function openOther(done) {
  const name = field('Its name', h('input', { name: 'name', class: 'form-control', autocomplete: 'off', required: true }))
  const type = select('type', SCOPES, 'partner')
  type.addEventListener('change', () => {
    name.hidden = type.value === 'all'
    name.querySelector('input').required = type.value !== 'all'
  })
  pausing((form) => (form.type === 'all' ? 'all' : `${form.type}:${form.name.trim()}`), {
    title: 'Pause something',
    fields: [field('What', type), name],
    because: 'looking into it',
    done,
  })
}

const WAYS = {
  ramp: ['Step by step', 'More of the budget with each step, and a step back at the first refusal by Meta.'],
  part: ['At a part of the budget', 'Until somebody decides anew.'],
  all: ['All at once', 'Everything that waits goes as fast as the budget lets it.'],
}

export function openResume(scope, layers, done) {
  const way = select('way', Object.entries(WAYS).map(([value, [words]]) => [words, value]), 'ramp')
  const hint = h('p', { class: 'form-text', role: 'status' })
  const part = share('percent', 10)
  const adjust = () => {
    hint.textContent = WAYS[way.value][1]
    part.hidden = way.value !== 'part'
  }
  way.addEventListener('change', adjust)
  adjust()
  const how = field('How', way)
  how.append(hint, part)
  open({
    title: `Resume ${saidScope(scope)}`,
    about: layers.map((one) => `${one.by} paused it at ${clock(one.since)}: ${one.reason}.`).join(' '),
    fields: [reason('Meta has confirmed the fix'), how],
    verb: 'Resume',
    name: 'resume',
    wish: (form) => ({ scope, reason: form.reason, percent: { ramp: null, part: numberOf(form.percent), all: 100 }[form.way] }),
    preview: (wish) => ({ scope, mode: 'lift', percent: wish.percent ?? '' }),
    done,
  })
}

export function openIncident(done) {
  open({
    title: 'Open an incident',
    about: 'The product opens one by itself when a breaker trips, a budget runs out or operations come late. Open one for what it cannot see.',
    fields: [field('What is wrong', h('input', { name: 'reason', class: 'form-control', required: true, minlength: 3, maxlength: 500, autocomplete: 'off', placeholder: 'partners report that templates stay pending' }))],
    verb: 'Open',
    name: 'open',
    wish: (form) => ({ reason: form.reason }),
    done,
  })
}

export function openNote(incident, done) {
  open({
    title: `Note on incident ${incident.id}`,
    about: incident.title,
    fields: [field('What happened, or what was done', h('textarea', { name: 'reason', class: 'form-control', rows: 3, required: true, minlength: 3, maxlength: 2000 }))],
    verb: 'Note',
    name: 'note',
    wish: (form) => ({ incident: incident.id, reason: form.reason }),
    done,
  })
}

export function openClose(incident, done) {
  open({
    title: `Close incident ${incident.id}`,
    about: `${incident.title} What comes back within days reopens it.`,
    fields: [reason('a full day at full rate without a refusal')],
    verb: 'Close',
    name: 'close',
    wish: (form) => ({ incident: incident.id, reason: form.reason }),
    done,
  })
}
