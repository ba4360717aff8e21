// The dialogs in which somebody decides: what, how, how long, why, and what it touches, before the button.

import { byId, h, icon } from './dom.js'
import { clock, scope as saidScope, sentence } from './say.js'
import { actor, ask, decide } from './wire.js'

const dialog = byId('dialog')
let opener

const LENGTHS = [['30 minutes', 1800], ['2 hours', 7200], ['4 hours', 14400], ['12 hours', 43200], ['2 days', 172800], ['until somebody lifts it', '']]

// ── the parts of a form ────────────────────────────────────────────────────────────────────────────────────────

let nth = 0
const id = () => `room-field-${(nth += 1)}`

function field(label, control, hint) {
  control.id ||= id()
  return h('div', { class: 'room-field' }, h('label', { for: control.id, class: 'form-label' }, label), control, hint && h('p', { class: 'form-text' }, hint))
}

const select = (name, options, chosen) =>
  h('select', { name, class: 'form-select' }, options.map(([words, value]) => h('option', { value, selected: value === chosen }, words)))

const reason = (hint) =>
  field('Why', h('input', { name: 'reason', class: 'form-control', required: true, minlength: 3, maxlength: 500, autocomplete: 'off', placeholder: hint }), 'Whoever asks why an operation waits reads this.')

const length = () => field('How long', select('for_seconds', LENGTHS, 7200))

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
  ;(form.querySelector('input[name=name]') ?? form.querySelector('input[name=reason]')).focus()
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
      if (mine === newest) node.replaceChildren(...(told.sentences ?? []).map((one) => h('p', {}, one)))
    } catch (error) {
      if (mine === newest) node.replaceChildren(h('p', {}, icon('warn'), ` What it touches cannot be said: ${error.message}`))
    }
  }
}

// ── what can be decided ────────────────────────────────────────────────────────────────────────────────────────

const seconds = (value) => (value ? Number(value) : null)

function pausing(scopeOf, more) {
  open({
    verb: 'Pause',
    danger: true,
    name: 'pause',
    wish: (form) => ({ scope: scopeOf(form), reason: form.reason, for_seconds: seconds(form.for_seconds), notice: form.notice || null }),
    preview: ({ scope }) => (/^all$|:./.test(scope) ? { scope } : null),
    ...more,
  })
}

export function openPause(scope, done) {
  pausing(() => scope, {
    title: `Pause ${saidScope(scope)}`,
    about: 'Running operations stop between two calls and keep their place. Nothing is lost; the Hub can go on enqueueing.',
    fields: [reason('Meta’s limit is hit'), length(), notice()],
    done,
  })
}

export function openHold({ partner, queues }, done) {
  const whole = [`everything of ${partner}`, `partner:${partner}`]
  const one = Object.keys(queues).map((queue) => [`only ${queue} of ${partner}`, `partner:${partner}/${queue}`])
  pausing((form) => form.what, {
    title: `Hold partner ${partner}`,
    about: 'Its operations wait; none is lost. Other partners are not touched.',
    fields: [field('What', select('what', [...one, whole], one[0]?.[1])), reason('it uses the others’ budget up'), length(), notice()],
    verb: 'Hold',
    done,
  })
}

const SCOPES = [['a queue', 'queue'], ['a partner, or PARTNER/QUEUE', 'partner'], ['a WABA', 'waba'], ['a number', 'number'], ['a capability', 'capability'], ['an app', 'app'], ['everything', 'all']]

export function openOther(done) {
  const name = field('Its name', h('input', { name: 'name', class: 'form-control', autocomplete: 'off', required: true }))
  const type = select('type', SCOPES, 'partner')
  type.addEventListener('change', () => {
    name.hidden = type.value === 'all'
    name.querySelector('input').required = type.value !== 'all'
  })
  pausing((form) => (form.type === 'all' ? 'all' : `${form.type}:${form.name.trim()}`), {
    title: 'Pause something',
    fields: [field('What', type), name, reason('looking into it'), length(), notice()],
    done,
  })
}

export function openResume(scope, layers, done) {
  open({
    title: `Resume ${saidScope(scope)}`,
    about: layers.map((one) => `Paused by ${one.by} since ${clock(one.since)}: ${one.reason}.`).join(' '),
    fields: [reason('Meta has confirmed the fix')],
    verb: 'Resume',
    name: 'resume',
    wish: (form) => ({ scope, reason: form.reason }),
    done,
  })
}
