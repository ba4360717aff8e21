// An operation's story.

import { byId, h, list, show, text } from './dom.js'
import { drawFacts, drawMoves } from './moves.js'
import { clock, count, sentence } from './say.js'
import { keepLooking, tellLive } from './wire.js'

const LEVELS = {
  succeeded: ['ok', 'ok'],
  failed: ['alarm', 'stop'],
  cancelled: ['warn', 'stop'],
  expired: ['warn', 'stop'],
  held: ['pause', 'pause'],
  needs_input: ['warn', 'warn'],
  running: ['info', 'play'],
  waiting: ['info', 'probe'],
}

const root = byId('story')
show(root, false)
const why = h('p', { class: 'room-why' })
const next = h('p', {})
const give = h('p', {})
const behindHead = h('p', { class: 'room-facts' }, 'If that were gone, it would still be kept by:')
const behind = h('ul', { class: 'room-behind' })
const facts = h('dl', { class: 'room-dl' })
const moves = h('ol', { class: 'room-moves' })
root.append(h('section', { class: 'room-card' }, why, next, give, behindHead, behind, facts), h('section', {}, h('h2', {}, 'What happened'), moves))

function draw(one) {
  show(root, true)
  const [level, sign] = LEVELS[one.state] ?? ['info', 'probe']
  const verdict = byId('verdict')
  verdict.dataset.level = level
  verdict.querySelector('use').setAttribute('href', `#room-icon-${sign}`)
  text(verdict.querySelector('h1'), `${one.kind}: ${one.state.replace('_', ' ')}`)
  text(verdict.querySelector('p'), one.summary)
  const { explained } = one
  text(why, sentence(explained.summary))
  text(next, sentence(explained.next))
  list(behind, explained.behind, (each) => `${each.by} ${each.scope}`, () => {
    const node = h('li', {})
    node.update = (each) => text(node, `${sentence(each.reason)} ${sentence(each.then)}`)
    return node
  })
  show(behindHead, explained.behind.length)
  text(give, sentence(one.how_to_give))
  show(give, one.how_to_give)
  drawFacts(facts, {
    partner: one.partner,
    WABA: one.waba,
    app: one.routed_from ? `${one.app} (asked for ${one.routed_from})` : one.app,
    class: one.class,
    attempts: one.attempts,
    shared_by: one.callers > 1 ? count(one.callers, 'request') : null,
    goes_on: one.hold?.until && `about ${clock(one.hold.until, true)}`,
    notice: one.hold?.notice,
    accepted: clock(one.created_at, true),
    deadline: one.deadline_at && clock(one.deadline_at, true),
    ended: one.finished_at && clock(one.finished_at, true),
    id: one.id,
  })
  drawMoves(moves, one.moves)
  return one.finished ? 'enough' : undefined
}

const tell = tellLive(byId('live-dot'), byId('live'), byId('room'))
let ended = false
keepLooking(
  `/operations/${encodeURIComponent(byId('operation').dataset.id)}/story`,
  (one) => {
    ended = draw(one) === 'enough'
    return ended ? 'enough' : undefined
  },
  (state) => {
    if (ended) {
      byId('live-dot').className = 'status-dot'
      text(byId('live'), 'It has ended')
      return
    }
    tell(state)
    if (state.age == null && state.problem) {
      text(byId('live'), 'Trying again')
      text(byId('verdict').querySelector('h1'), 'Nothing to tell')
      text(byId('verdict').querySelector('p'), sentence(state.problem))
    }
  },
)
