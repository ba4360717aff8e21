// The control room: one look every two seconds, and what can be decided about it.

import { knowIncidents, openClose, openHold, openIncident, openNote, openOther, openPause, openResume } from './decide.js'
import { byId, h, icon, list, show, text } from './dom.js'
import { drawMoves } from './moves.js'
import { bar, course, gauge } from './plots.js'
import { clock, count, number, percent, scope as saidScope, sentence, span } from './say.js'
import { base, keepLooking, mayAct, tellLive } from './wire.js'

const OLD = 15 // seconds

let looked = {}
const redrawn = (said) => {
  if (said) tellDone(said)
  return lookNow()
}

// ── what stands where ──────────────────────────────────────────────────────────────────────────────────────────

function draw(news) {
  looked = news
  const pauses = news.decisions.value?.pauses ?? news.queues.value?.pauses ?? []
  const apps = news.gate.value ?? []
  const incidents = news.incidents?.value ?? []
  const troubles = drawTroubles(news)
  drawIncidents(incidents)
  drawPauses(pauses)
  drawQueues(news, pauses)
  drawBudgets(apps, news.history?.value ?? {}, news.queues.value?.drains ?? [])
  drawBreakers(apps)
  drawTop(news.top.value ?? { talkers: [] })
  drawVerdict({ pauses, apps, incidents, troubles, queues: news.queues.value?.queues ?? [] })
}

function drawSign(node, name) {
  if (node.dataset.name === name) return
  node.dataset.name = name
  node.replaceChildren(icon(name))
}

const isOpen = (incident) => incident.state !== 'closed'
const broken = (apps) => apps.flatMap((app) => app.breakers).filter((one) => one.state !== 'closed' || one.held)

function drawVerdict({ pauses, apps, incidents, troubles, queues }) {
  const open = incidents.filter(isOpen)
  const breakers = broken(apps)
  const lost = apps.filter((app) => !app.told)
  const held = queues.reduce((sum, queue) => sum + queue.held, 0)
  const full = apps.flatMap((app) => app.windows).filter((one) => !one.shadow && one.used + one.others >= 0.9 * one.limit)
  const facts = [
    open.length && count(open.length, 'incident'),
    lost.length && 'the gate has lost its state',
    breakers.length && `${count(breakers.length, 'breaker')} not closed`,
    pauses.length && count(pauses.length, 'pause'),
    full.length && `${count(full.length, 'budget')} nearly spent`,
    held && `${number(held)} held`,
    troubles && count(troubles, 'thing', 'things') + ' amiss',
  ].filter(Boolean)
  const [level, sign, words] =
    open.length || lost.length || breakers.some((one) => one.state === 'open')
      ? ['alarm', 'stop', open.length ? 'Incident' : lost.length ? 'No calls are made' : 'Meta refuses calls']
      : troubles || full.length || breakers.length
        ? ['warn', 'warn', 'Something is amiss']
        : pauses.length
          ? ['pause', 'pause', 'Paused in part']
          : ['ok', 'ok', 'All quiet']
  setVerdict(level, sign, words, facts.join(' · ') || 'Nothing is paused, no breaker is open, nothing is amiss.')
}

function setVerdict(level, sign, words, more) {
  const node = byId('verdict')
  if (node.dataset.level !== level) {
    node.dataset.level = level
    node.querySelector('use').setAttribute('href', `#room-icon-${sign}`)
  }
  text(node.querySelector('h1'), words)
  text(node.querySelector('p'), more)
}

const PARTS = {
  queues: 'The queues',
  decisions: 'The pauses',
  gate: 'Budgets and breakers',
  top: 'Who used the budget',
  incidents: 'The incidents',
  history: 'The last hour',
}

function drawTroubles(news) {
  const away = Object.entries(PARTS)
    .filter(([part]) => news[part]?.trouble)
    .map(([part, name]) => {
      const { age_seconds: age, trouble } = news[part]
      const seen = age == null ? 'nothing is shown of it' : `what is shown is ${span(age)} old`
      return `${name} cannot be seen (${seen}): ${trouble}`
    })
  const told = [...new Set([...away, ...(news.queues.trouble ? [] : (news.queues.value?.troubles ?? []))])]
  list(byId('troubles'), told, (one) => one, (one) => h('li', {}, icon('warn'), h('span', {}, sentence(one))))
  show(byId('troubles'), told.length)
  return told.length
}

// ── incidents ──────────────────────────────────────────────────────────────────────────────────────────────────

const STATES = { on: ['alarm', 'stop', 'going on'], quiet: ['warn', 'warn', 'quiet, not closed'], closed: ['fine', 'ok', 'closed'] }

function drawIncidents(incidents) {
  show(byId('no-incident'), !incidents.some(isOpen))
  list(byId('incident-list'), incidents, (one) => one.id, (first) => {
    const sign = h('span', {})
    const badge = h('span', { class: 'room-badge' })
    const facts = h('p', { class: 'room-facts' })
    const line = h('ol', { class: 'room-moves' })
    const buttons = actions(
      h('button', { type: 'button', class: 'btn btn-sm btn-outline-secondary', onclick: () => openNote(first, redrawn) }, 'Note…'),
      h('button', { type: 'button', class: 'btn btn-sm btn-outline-secondary', onclick: () => openClose(first, redrawn) }, 'Close…'),
    )
    const node = h(
      'article',
      { class: 'room-card' },
      h('div', { class: 'room-card-head' }, sign, h('h3', {}, h('a', { href: `${base}/incidents/${first.id}` }, `Incident ${first.id}: ${first.title}`)), badge),
      facts,
      line,
      buttons,
    )
    node.update = (incident) => {
      const [level, name, words] = STATES[incident.state] ?? ['warn', 'warn', incident.state]
      drawSign(sign, name)
      node.dataset.level = badge.dataset.level = level
      text(badge, words)
      text(facts, `${incident.app ? `app ${incident.app}, ` : ''}since ${clock(incident.began_at)}; ${count(incident.episodes.length, 'episode')}, ${span(incident.lasted_seconds)} altogether`)
      drawMoves(line, incident.line)
      show(line, incident.line.length > 1)
      if (buttons) show(buttons, incident.state !== 'closed')
    }
    return node
  })
}

// ── pauses ─────────────────────────────────────────────────────────────────────────────────────────────────────

const MODES = {
  hold: 'held',
  reject: 'new ones refused',
  drop: 'dropped',
  drain: 'begins nothing new',
  probe: 'single probes',
}

function pauseBadge(pause) {
  if (pause.is_ramp) return `going on at ${pause.percent} %`
  return pause.percent ? `runs at ${pause.percent} %` : (MODES[pause.mode] ?? 'held')
}

function drawPauses(pauses) {
  show(byId('no-pauses'), !pauses.length)
  list(byId('pause-list'), pauses, (one) => one.id, (first) => {
    const badge = h('span', { class: 'room-badge' })
    const facts = h('p', { class: 'room-facts' })
    const notice = h('p', { class: 'room-facts' })
    const node = h(
      'article',
      { class: 'room-card room-card-pause' },
      h('div', { class: 'room-card-head' }, icon('pause'), h('h3', {}, saidScope(first.scope)), badge),
      h('p', { class: 'room-reason' }, first.reason),
      facts,
      notice,
      actions(h('button', { type: 'button', class: 'btn btn-sm btn-outline-primary', onclick: () => openResume(first.scope, layers(first.scope), redrawn) }, 'Lift…')),
    )
    node.update = (pause) => {
      text(badge, pauseBadge(pause))
      const then = pause.then === 'ramp' ? ', then it goes on little by little' : ''
      const until = pause.until ? `until ${clock(pause.until)}${then}` : 'until somebody lifts it'
      text(facts, `by ${pause.by} since ${clock(pause.since)}, ${until}${pause.incident ? ` · incident ${pause.incident}` : ''}`)
      text(notice, pause.notice ? `Customers are told: ${pause.notice}` : '')
      show(notice, pause.notice)
    }
    return node
  })
}

const layers = (scope) => (looked.decisions?.value?.pauses ?? []).filter((one) => one.scope === scope)
const actions = (...buttons) => (mayAct ? h('div', { class: 'room-actions' }, ...buttons) : null)

// ── queues ─────────────────────────────────────────────────────────────────────────────────────────────────────

// Whose word it is that something cannot go: what we hold back ourselves is not what Meta refuses.
const KEPT = [['person', 'kept by a decision'], ['ours', 'by our own gate'], ['meta', 'by Meta']]

const cell = (label, more = '') => h('td', { class: `n ${more}`, 'data-label': label })

function drawQueues(news, pauses) {
  const { value, age_seconds: age } = news.queues
  text(byId('queues-age'), age > OLD ? `counted ${span(age)} ago` : '')
  const backlog = news.history?.value?.backlog ?? {}
  const queues = (value?.queues ?? []).map((queue) => {
    const covering = pauses.find((one) => one.scope === `queue:${queue.queue}`) ?? pauses.find((one) => one.scope === 'all')
    const quiet = !queue.waiting && !queue.held && !queue.running && !queue.needs_input && !covering
    return { ...queue, covering, quiet, points: backlog[queue.queue] ?? [] }
  })
  queues.sort((one, two) => one.quiet - two.quiet)
  list(byId('queue-list'), queues, (queue) => queue.queue, (first) => {
    const name = first.queue
    const badge = h('span', { class: 'room-badge' })
    const kept = h('span', { class: 'room-kept' })
    const waiting = cell('waiting')
    const held = cell('held')
    const running = cell('running')
    const oldest = cell('oldest')
    const done = cell('done/h')
    const failed = cell('failed/h')
    const workers = cell('workers')
    const trend = course({ height: 24, label: `waiting and held of ${name} in the last hour` })
    const pause = h('button', { type: 'button', class: 'btn btn-sm btn-outline-secondary', onclick: () => openPause(`queue:${name}`, redrawn), 'aria-label': `Pause ${name}` }, 'Pause…')
    const resume = h('button', { type: 'button', class: 'btn btn-sm btn-outline-primary', onclick: () => openResume(`queue:${name}`, layers(`queue:${name}`), redrawn), 'aria-label': `Resume ${name}` }, 'Resume…')
    const node = h(
      'tr',
      {},
      h('th', { scope: 'row' }, h('span', { class: 'room-name' }, name), badge, kept),
      waiting, held, running, oldest, done, failed, workers,
      h('td', { class: 'room-trend' }, trend),
      h('td', { class: 'room-row-actions' }, mayAct && [pause, resume]),
    )
    node.update = (queue) => {
      const { covering, points, quiet } = queue
      const own = covering && covering.scope !== 'all'
      const dead = queue.workers === 0 && (queue.waiting || queue.running)
      node.className = quiet ? 'room-quiet' : ''
      text(badge, covering ? pauseBadge(covering) : dead ? 'no worker' : queue.needs_input ? `${number(queue.needs_input)} need input` : '')
      badge.dataset.level = covering ? 'pause' : dead ? 'alarm' : 'info'
      show(badge, badge.textContent)
      text(kept, KEPT.filter(([by]) => queue.kept_by?.[by]).map(([by, words]) => `${number(queue.kept_by[by])} ${words}`).join(' · '))
      show(kept, kept.textContent)
      number_(waiting, queue.waiting)
      number_(held, queue.held)
      number_(running, queue.running)
      text(oldest, span(queue.oldest_age_seconds))
      number_(done, queue.succeeded_last_hour)
      number_(failed, queue.failed_last_hour)
      failed.classList.toggle('room-bad', queue.failed_last_hour > 0)
      text(workers, queue.workers == null ? '?' : number(queue.workers))
      show(pause, !own)
      show(resume, own)
      trend.update(points, { words: points.length ? `between ${number(Math.min(...points.map((one) => one[1])))} and ${number(Math.max(...points.map((one) => one[1])))} in the last hour` : '' })
    }
    return node
  })
}

function number_(node, value) {
  text(node, number(value))
  node.classList.toggle('room-zero', !value)
}

// ── budgets and breakers ───────────────────────────────────────────────────────────────────────────────────────

function drawBudgets(apps, history, drains) {
  const windows = apps.flatMap((app) => app.windows.map((window) => ({ ...window, app, points: history.budgets?.[window.scope] ?? [], drain: drainOf(drains, app, window) })))
  list(byId('budget-list'), windows, (one) => `${one.app.app} ${one.scope}`, (first) => {
    const meter = gauge()
    const share = h('span', { class: 'room-share' })
    const facts = h('p', { class: 'room-facts' })
    const drain = h('p', { class: 'room-facts' })
    const past = course({ height: 48, label: `${first.scope} in the last hour` })
    const caption = h('p', { class: 'room-facts room-caption' }, 'the last hour; the dashed line is the limit')
    const node = h(
      'article',
      { class: 'room-card' },
      h('div', { class: 'room-card-head' }, h('h3', {}, saidScope(first.scope)), share),
      meter,
      facts,
      drain,
      past,
      caption,
    )
    node.update = (window) => {
      const spent = window.limit ? (window.used + window.others) / window.limit : 0
      const label = `${number(window.used)} of ours and ${number(window.others)} of others, of ${number(window.limit)} in ${span(window.window_seconds)}`
      meter.update({ ...window, label })
      text(share, percent(spent))
      text(drain, sentence(window.drain))
      show(drain, window.drain)
      text(facts, [label, foretold(window), window.app.learning && 'finding out how much is spent'].filter(Boolean).join(' · '))
      const { points } = window
      past.update(points, { to: 110, bound: 100, words: `up to ${Math.max(0, ...points.map((one) => one[1]))} % of the limit in the last hour` })
      show(caption, points.length > 1)
    }
    return node
  })
}

function drainOf(drains, app, window) {
  const found = drains.find((one) => one.app === app.app)
  return window.scope === `app:${app.app}` && found?.operations ? `${count(found.operations, 'operation')} to do: ${found.sentence}` : ''
}

function foretold(window) {
  if (window.shadow) return `on trial: would have refused ${number(window.would_refuse)}`
  const trusted = window.ceiling < 1 ? `${percent(window.ceiling)} of the limit is trusted after a trip` : ''
  const left = window.exhausted_in_seconds
  const lasts = left == null ? '' : left > 0 ? `at this rate spent in ${span(left)}` : 'spent'
  return [lasts, trusted].filter(Boolean).join(' · ')
}

const STANDS = { open: ['stop', 'open: no call passes'], 'half-open': ['probe', 'a probe is on its way'], closed: ['ok', 'closed'] }

function drawBreakers(apps) {
  const lost = apps.filter((app) => !app.told).map((app) => ({ scope: `app:${app.app}`, state: 'open', evidence: 'the gate has lost its state: no calls until it is told', app: app.app, trips: 0 }))
  const awake = [...lost, ...apps.flatMap((app) => app.breakers)]
  const closed = apps.reduce((sum, app) => sum + app.closed, 0)
  text(byId('breakers-closed'), apps.length ? `${awake.length ? `${number(closed)} more are` : `All ${number(closed)} are`} closed.` : 'The gate has not been heard yet.')
  list(byId('breaker-list'), awake, (one) => one.scope, (first) => {
    const sign = h('span', {})
    const badge = h('span', { class: 'room-badge' })
    const evidence = h('p', { class: 'room-facts' })
    const next = h('p', { class: 'room-facts' })
    const node = h('article', { class: 'room-card' }, h('div', { class: 'room-card-head' }, sign, h('h3', {}, saidScope(first.scope)), badge), evidence, next)
    node.update = (breaker) => {
      const [name, words] = STANDS[breaker.state] ?? ['warn', breaker.state]
      drawSign(sign, name)
      node.dataset.level = { open: 'alarm', 'half-open': 'warn' }[breaker.state] ?? 'fine'
      text(badge, words)
      badge.dataset.level = node.dataset.level
      text(evidence, sentence(breaker.held || breaker.evidence || 'it was open a while ago'))
      const due = breaker.held ? '' : breaker.state === 'open' && breaker.retry_in_seconds != null ? `Next probe in ${span(breaker.retry_in_seconds)}.` : ''
      const trips = breaker.trips ? `${count(breaker.trips, 'trip')} of late.` : ''
      text(next, `${due} ${trips}`.trim())
    }
    return node
  })
}

// ── who used the budget ────────────────────────────────────────────────────────────────────────────────────────

function drawTop({ talkers, sentence: told }) {
  text(byId('top-told'), sentence(told ?? 'nobody can say'))
  show(byId('top-panel'), talkers.length)
  list(byId('top-list'), talkers, (one) => one.partner, (first) => {
    const badge = h('span', { class: 'room-badge', 'data-level': 'alarm' }, 'explains it')
    const refused = cell('refused')
    const calls = cell('calls')
    const part = bar()
    const share = h('span', { class: 'room-share-small' })
    const mostly = h('td', { class: 'room-mostly', 'data-label': 'mostly' })
    const hold = h('button', { type: 'button', class: 'btn btn-sm btn-outline-secondary', 'aria-label': `Hold partner ${first.partner}` }, 'Hold…')
    const node = h(
      'tr',
      {},
      h('th', { scope: 'row' }, h('span', { class: 'room-name' }, first.partner), badge),
      calls,
      refused,
      h('td', { class: 'room-part', 'data-label': 'part of all calls' }, part, share),
      mostly,
      h('td', { class: 'room-row-actions' }, mayAct && hold),
    )
    let now = first
    hold.addEventListener('click', () => openHold(now, redrawn))
    node.update = (one) => {
      now = one
      show(badge, one.explains)
      number_(calls, one.calls)
      number_(refused, one.refused)
      refused.classList.toggle('room-bad', one.refused > 0)
      part.update(one.share)
      text(share, percent(one.share))
      const all = Object.values(one.queues).reduce((sum, n) => sum + n, 0)
      text(mostly, Object.entries(one.queues).map(([queue, n]) => `${queue} ${percent(n / all)}`).join(', '))
    }
    return node
  })
}

// ── what was done ──────────────────────────────────────────────────────────────────────────────────────────────

let fading

function tellDone(said) {
  const node = byId('said')
  node.replaceChildren(h('p', { class: 'room-said', 'data-level': said.in_force === false ? 'warn' : 'ok' }, icon(said.in_force === false ? 'warn' : 'ok'), h('span', {}, said.sentence)))
  clearTimeout(fading)
  fading = setTimeout(() => node.replaceChildren(), 20000)
}

knowIncidents(() => (looked.incidents?.value ?? []).filter(isOpen))

for (const [id, openIt] of [['pause-other', openOther], ['open-incident', openIncident]]) {
  byId(id).addEventListener('click', () => openIt(redrawn))
  show(byId(id), mayAct)
}

const lookNow = keepLooking('/look', draw, tellLive(byId('live-dot'), byId('live'), document.getElementById('room')))
